"""`tailrace serve --workers N`: who keeps N server processes on one port.

The law of this file: the parent serves nothing. It holds the port, starts the processes, starts
another where one died, and hands on the signal to end; no process outlives it.
"""

import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress

import anyio
from anyio.abc import Process, TaskStatus

from tailrace.cli.listening import Child, address, hold
from tailrace.cli.options import DONE, FAILED, run_async
from tailrace.clock import stopwatch
from tailrace.errors import InvalidSetting
from tailrace.settings import Settings, shown

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0  # before another is started; doubled each time
STEADY_S = 60.0  # who lived so long did not die of how it was started
KILL_SLACK_S = 5.0  # after the drain time; before that a child has a last resort of its own
IN_ORDER = (0, -signal.SIGTERM, -signal.SIGINT)  # uvicorn ends by the signal that it was sent


def keep(settings: Settings) -> int:
    """Keep the processes until a signal; returns the exit status.

    Raises InvalidSetting and AddressUnavailable. Each runs this process's own command line: what
    is secret in the environment stays there.
    """
    check(settings)
    held, settings = hold(settings)
    program, verb, *arguments = sys.argv
    supervisor = Supervisor(settings, [sys.executable, program, verb], arguments)
    with held:
        return run_async(supervisor.run)


def check(settings: Settings) -> None:
    """Refuse what several processes cannot be. Raises InvalidSetting."""
    if not sys.platform.startswith("linux"):
        raise InvalidSetting("workers: only Linux deals connections out to several processes")
    if settings.store.startswith("memory:"):
        raise InvalidSetting(
            "workers: with the store memory: each process would have a log of its own",
            hint="Name a store that processes share: sqlite:///FILE or redis://HOST:PORT.",
        )
    if settings.workers_port and settings.workers_port + settings.workers > 65_536:
        raise InvalidSetting("workers_port: too high for as many ports as there are workers")


class Supervisor:
    """Keeps as many children as the settings say; `command` starts one."""

    def __init__(
        self, settings: Settings, command: Sequence[str], arguments: Sequence[str]
    ) -> None:
        self._settings, self._command, self._arguments = settings, command, arguments
        self._children: set[Process] = set()
        self._ending = anyio.Event()
        self._status = DONE

    async def run(self) -> int:
        """Keep them until a signal; returns the exit status."""
        settings = self._settings
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._hand_on_signals)
            async with anyio.create_task_group() as keepers:
                # The first alone: what is wrong with a target or a setting is then said once.
                for numbers in ([0], range(1, settings.workers)):
                    ready = [(number, anyio.Event()) for number in numbers]
                    for child in ready:
                        keepers.start_soon(self._keep, *child)
                    for _, listens in ready:
                        await listens.wait()
                if not self._ending.is_set():
                    _say(
                        f"{address(settings)}  store {shown(settings.store)}  {settings.workers} processes"
                    )
                await self._ending.wait()
                limit_s = settings.drain_s + KILL_SLACK_S
                keepers.cancel_scope.deadline = anyio.current_time() + limit_s
            tasks.cancel_scope.cancel()
        return FAILED if keepers.cancel_scope.cancelled_caught else self._status

    async def _hand_on_signals(self, *, task_status: TaskStatus[None]) -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            async for number in signals:
                # The first asks for an end in good order; a Ctrl-C after it, for one at once.
                self._end(number if self._ending.is_set() else signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        self._ending.set()
        for child in self._children:
            with suppress(ProcessLookupError):
                child.send_signal(number)

    async def _keep(self, number: int, listens: anyio.Event) -> None:
        """Keep one child; `listens` is set when it does so first, or never will."""
        pause_s = FIRST_PAUSE_S
        while not self._ending.is_set():
            began = stopwatch()
            status = await self._live(number, listens)
            if self._ending.is_set() or not listens.is_set():
                break  # one that could not begin has said why, and could not the next time
            pause_s = FIRST_PAUSE_S if stopwatch() - began > STEADY_S else pause_s
            _say(f"a server process ended ({_told(status)}); another begins in {pause_s:g} s")
            with anyio.move_on_after(pause_s):
                await self._ending.wait()
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        else:
            listens.set()
            return
        if not listens.is_set() or status not in IN_ORDER:
            self._status = self._status or max(status, FAILED)
        listens.set()
        self._end(signal.SIGTERM)

    async def _live(self, number: int, listens: anyio.Event) -> int:
        """One child, from its start to its end; returns its exit status."""
        base = self._settings.workers_port
        ours, theirs = socket.socketpair()
        with ours, theirs:
            told = Child(self._settings.port, base and base + number, theirs.fileno())
            child = await anyio.open_process(
                [*self._command, "--child", told.argument, *self._arguments],
                stdin=None,
                stdout=None,
                stderr=None,
                start_new_session=True,  # Ctrl-C reaches it once, through the parent
                pass_fds=[theirs.fileno()],
            )
            theirs.close()
            self._children.add(child)
            try:
                async with child:  # which kills it if there is no more time
                    if self._ending.is_set():
                        child.terminate()
                    await anyio.wait_readable(ours)
                    if ours.recv(1):
                        listens.set()
                    return await child.wait()
            finally:
                self._children.discard(child)


def _told(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"


def _say(text: str) -> None:
    print(f"tailrace: {text}", file=sys.stderr, flush=True)
