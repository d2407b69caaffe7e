"""Two servers on one Redis, behind a proxy that takes them in turns and cuts: any serves anything."""

import json
import re
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import anyio
import httpx
import pytest

from tailrace import sse
from tailrace.client import Client
from tailrace.events import TERMINAL, Event
from tailrace.filters import Choice
from tests.e2e.conftest import Shell
from tests.e2e.turns import Turns
from tests.servers import RedisServer

FLOWS = """
import anyio
from collections.abc import AsyncIterator
from pathlib import Path
from tailrace import agent, flow, log, node, progress

@node
async def talks(turns: int, every_s: float) -> AsyncIterator[int]:
    for number in range(turns):
        log(f"turn {number}", level="error" if number % 5 == 0 else "info")
        progress(number / turns)
        yield number
        await anyio.sleep(every_s)

@flow
def talk(turns: int = 100, every_s: float = 0.01) -> object:
    return talks(turns, every_s)

@node(effects="read_only")
async def waits(until: str) -> int:
    said = 0
    while not Path(until).exists() or said < 50:
        log(f"{said}")
        said += 1
        await anyio.sleep(0.02)
    return said

@flow
def wait(until: str) -> object:
    return waits(until)

@agent
async def tell(heard: str, words: int = 100) -> AsyncIterator[str]:
    for number in range(words):
        yield f"word{number} "
        while number == 10 and not Path(heard).exists():
            await anyio.sleep(0.005)
        await anyio.sleep(0.005)
"""
STREAMS = 16  # of one workspace, on both servers together


@dataclass
class Pair:
    """Two servers that know of each other nothing but their store."""

    shell: Shell
    urls: tuple[str, str]
    token: str

    @property
    def ports(self) -> list[int]:
        return [int(url.rpartition(":")[2]) for url in self.urls]

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}

    def client(self, url: str, workspace: str = "default") -> Client:
        return Client(url, workspace=workspace, token=self.token)

    def place(self, server: int, execution_id: str, rest: str = "/stream") -> str:
        base = f"{self.urls[server]}/api/v1/workspaces/default/executions"
        return f"{base}/{execution_id}{rest}"


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.remove()


def shell_on(server: RedisServer, folder: Path, prefix: str) -> Shell:
    (folder / "flows.py").write_text(FLOWS)
    made = Shell(folder)
    made.env["TAILRACE_STORE"] = server.url(prefix)
    return made


@pytest.fixture(scope="module")
def pair(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    shell = shell_on(redis_server, tmp_path_factory.mktemp("pair"), "pair")
    limits = ("--streams-per-workspace-max", str(STREAMS), "--retry-ms", "10")
    urls = [shell.serve("flows.py", "--auth", *limits)[1] for _ in range(2)]
    made = shell.run("token", "create", "--workspace", "*", "--role", "operator", "--name", "t")
    assert made.returncode == 0, made.stderr
    found = re.search(r"tlr_\S+", made.stdout)
    assert found, made.stdout
    yield Pair(shell, (urls[0], urls[1]), found[0])
    shell.end()


# --- the property: every event that was asked for, once and in order --------------------------

CHOICES: list[tuple[Choice, Callable[[Event], bool]]] = [
    (Choice(), lambda e: True),
    (Choice(events="log.line"), lambda e: e.type == "log.line"),
    (
        Choice(events="log.line", level="error"),
        lambda e: e.type == "log.line" and e.data["level"] == "error",
    ),
    (Choice(events="node.*,output.item"), lambda e: e.type.startswith(("node.", "output.item"))),
]


async def test_a_resuming_filtering_watcher_sees_every_event_once(pair: Pair) -> None:
    got: dict[tuple[int, int], list[Event]] = {}
    async with (
        Turns(pair.ports, cut_after=(300, 9000)).open() as proxy,
        pair.client(pair.urls[0]) as direct,
        pair.client(proxy.url) as client,
    ):
        ids = [await direct.start("talk", {"turns": 120}) for _ in range(2)]

        async def watch(run: int, number: int) -> None:
            events = client.follow(ids[run], **CHOICES[number][0])
            got[run, number] = [event async for event in events]

        async with anyio.create_task_group() as tasks:
            for run in range(2):
                for number in range(len(CHOICES)):
                    tasks.start_soon(watch, run, number)
        for run, execution_id in enumerate(ids):
            whole = [e async for e in direct.follow(execution_id, compact=False)]
            assert [e.id for e in whole] == list(range(1, len(whole) + 1))
            assert whole[-1].type == "execution.completed"
            for number, (_, wanted) in enumerate(CHOICES):
                chosen = [e for e in whole if wanted(e) or e.type in TERMINAL]
                assert got[run, number] == chosen
                assert len(chosen) > 20
    assert proxy.cuts > 30
    assert min(proxy.taken.values()) > 15
    assert len(proxy.taken) == 2


async def test_many_executions_on_one_stream_resume_at_the_other_server(pair: Pair) -> None:
    async with (
        Turns(pair.ports, cut_after=(2000, 12_000)).open() as proxy,
        pair.client(pair.urls[1]) as direct,
        pair.client(proxy.url) as client,
    ):
        ids = [await direct.start("talk", {"turns": 60}) for _ in range(3)]
        got: dict[str, list[int]] = {execution_id: [] for execution_id in ids}
        async for event in client.follow_many(*ids):
            assert event.id is not None
            got[event.execution_id].append(event.id)
        for execution_id in ids:
            head = (await direct.get(execution_id))["head"]
            assert got[execution_id] == list(range(1, head + 1))
    assert proxy.cuts > 5


# --- one after the other, by hand -------------------------------------------------------------


async def messages(response: httpx.Response) -> AsyncIterator[sse.Message]:
    decoder = sse.Decoder()
    async for part in response.aiter_raw():
        for message in decoder.feed(part):
            yield message


async def test_text_that_is_spoken_goes_on_at_the_other_server(pair: Pair, tmp_path: Path) -> None:
    heard_first = tmp_path / "heard"  # until then it says no more than its first words
    async with httpx.AsyncClient(headers=pair.headers) as http:
        async with pair.client(pair.urls[0]) as client:
            execution_id = await client.start("tell", {"heard": str(heard_first)})
        text, last, turn = "", "", 0
        while True:
            url = pair.place(turn % 2, execution_id, "/stream?format=text")
            headers = {"last-event-id": last} if last else {}
            async with http.stream("GET", url, headers=headers) as response:
                if response.status_code == 204:
                    break
                assert response.status_code == 200
                heard = 0
                async for message in messages(response):
                    last = message.id or last
                    if message.event == "message":  # what `onmessage` gets
                        text += message.data
                        heard += 1
                    if heard == 12 or (turn == 0 and heard):
                        break  # and the connection is closed
            heard_first.touch()
            turn += 1
        plain = await http.get(pair.place(turn % 2, execution_id), headers={"accept": "text/plain"})
    assert turn >= 2
    assert text == plain.text == "".join(f"word{number} " for number in range(100))


async def test_pages_of_a_log_go_on_at_the_other_server(pair: Pair) -> None:
    async with httpx.AsyncClient(headers=pair.headers) as http:
        async with pair.client(pair.urls[0]) as client:
            execution_id = await client.start("talk", {"turns": 30, "every_s": 0})
            await client.result(execution_id)
        read: list[int] = []
        for turn in range(100):
            query = f"/events?after={read[-1] if read else 0}&limit=7"
            page = (await http.get(pair.place(turn % 2, execution_id, query))).json()
            if not page["events"]:
                break
            read += [event["id"] for event in page["events"]]
        listed = [
            (await http.get(f"{url}/api/v1/workspaces/default/executions?limit=500")).json()
            for url in pair.urls
        ]
    assert len(read) > 90
    assert read == list(range(1, len(read) + 1))
    assert listed[0] == listed[1]


async def test_a_ticket_of_one_server_is_good_at_the_other_once(pair: Pair) -> None:
    async with httpx.AsyncClient() as http:
        async with pair.client(pair.urls[0]) as client:
            execution_id = await client.start("talk", {"turns": 5, "every_s": 0})
        for server in (0, 1):
            made = await http.post(
                pair.place(server, execution_id, "/tickets"), headers=pair.headers
            )
            ticket = made.json()["ticket"]
            there, here = (
                pair.place(one, execution_id, f"/stream?ticket={ticket}")
                for one in (1 - server, server)
            )
            first = await http.get(there)
            assert first.status_code == 200
            assert "execution.completed" in first.text
            for again in (here, there):
                refused = await http.get(again)
                assert (refused.status_code, refused.json()["code"]) == (401, "ticket_invalid")


async def test_a_limit_holds_across_both_servers(pair: Pair) -> None:
    async with AsyncExitStack() as stack, httpx.AsyncClient(headers=pair.headers) as http:
        base = "/api/v1/workspaces/crowd"
        started = await http.post(
            f"{pair.urls[0]}{base}/executions", json={"flow": "talk", "input": {"every_s": 60}}
        )
        path = f"{base}/executions/{started.json()['execution_id']}"
        opened = []
        for number in range(STREAMS):
            url = f"{pair.urls[number % 2]}{path}/stream"
            one = AsyncExitStack()
            answer = await one.enter_async_context(http.stream("GET", url))
            stack.push_async_callback(one.aclose)
            assert answer.status_code == 200
            opened.append(one)
        for url in pair.urls:
            refused = await http.get(f"{url}{path}/stream")
            assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")
        await opened[0].aclose()  # of the first server: its place is free at the second
        # When, nobody is told: the first server finds the stream closed, then gives the place back.
        # So the second is asked until it lets one in; its answer is what each turn waits for.
        admitted = False
        while not admitted:
            async with http.stream("GET", f"{pair.urls[1]}{path}/stream") as answer:
                admitted = answer.status_code == 200
        await http.post(f"{pair.urls[1]}{path}/cancel")  # which runs at the first
        async with http.stream("GET", f"{pair.urls[0]}{path}") as looked:
            assert looked.status_code == 200


async def test_a_cancel_through_the_other_server_stops_it(pair: Pair) -> None:
    async with pair.client(pair.urls[0]) as here, pair.client(pair.urls[1]) as there:
        execution_id = await here.start("talk", {"every_s": 60})
        await there.cancel(execution_id, "enough")
        told = [event async for event in there.follow(execution_id)]
    assert told[-1].type == "execution.cancelled"


# --- a server that is killed ------------------------------------------------------------------


async def test_watchers_of_a_killed_server_resume_at_the_other(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    shell, enough = shell_on(redis_server, tmp_path, "killed"), tmp_path / "enough"
    try:
        options = ("flows.py", "--retry-ms", "10", "--lease-s", "1")
        doomed, first = shell.serve(*options)
        _, second = shell.serve(*options)
        ports = [int(url.rpartition(":")[2]) for url in (first, second)]
        # One in a process of its own, which no server's death ends, and one in the doomed server.
        given = json.dumps({"until": str(enough)})
        survives = shell.started_id(shell.start("run", "flows.py:wait", "--input", given))
        async with Turns(ports).open() as proxy, Client(first) as direct, Client(second) as other:
            dies = await direct.start("talk", {"every_s": 60})
            watched = Watched(survives, 6)
            async with anyio.create_task_group() as tasks:
                for number in range(6):
                    tasks.start_soon(watched.follow, number, proxy.url)
                await watched.all_begun.wait()
                assert proxy.taken == {ports[0]: 3, ports[1]: 3}
                doomed.send_signal(signal.SIGKILL)
                lost = [event async for event in other.follow(dies)]
                enough.touch()
        # Those of the other had no reason to connect again; those of the dead one did, once. What
        # the dead one took meanwhile is the kernel's: it may end a process's connections before
        # its listener.
        assert proxy.taken[ports[1]] == 6
        for events in watched.got:
            assert [event.id for event in events] == list(range(1, len(events) + 1))
            assert events[-1].type == "execution.completed"
        assert lost[-1].type == "execution.lost"
    finally:
        shell.end()


class Watched:
    """Watchers of one execution, a client each: a pool would use one connection for two."""

    def __init__(self, execution_id: str, count: int) -> None:
        self.got: list[list[Event]] = [[] for _ in range(count)]
        self.all_begun = anyio.Event()
        self._execution_id = execution_id

    async def follow(self, number: int, url: str) -> None:
        async with Client(url) as client:
            async for event in client.follow(self._execution_id):
                self.got[number].append(event)
                if min(map(len, self.got)) >= 10:
                    self.all_begun.set()
