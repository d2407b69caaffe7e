"""Log lines by id, in one process: `publish`, `subscribe`, `close`, from any thread or task.

The law of this file: a face over executions, not a second way to keep lines. Each id is an
execution of kind `workload` of that very id, so what is published is durable, and is followed over
HTTP (`/workloads/{id}/logs`) like any other. A subscriber is a position in its log; a slow one
costs nothing and loses nothing.
"""

import asyncio
import logging
import re
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial

from tailrace import events
from tailrace.endings import Ending
from tailrace.errors import ExecutionExists, InvalidRequest, LogSealed, Overloaded, TailraceError
from tailrace.lines import lines_of
from tailrace.recorder import OUTBOX_MAX_EVENTS, Recorder
from tailrace.runtime import Runtime

CLOSED_KEPT = 10_000  # ids whose late lines are refused at once; older ones when they are begun
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_logger = logging.getLogger("tailrace")


class _Topic:
    """One id's execution, from its first use to its close. `lock` guards it: threads publish."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lock = threading.Lock()
        self.early: list[events.LogLine] = []  # published before the execution could begin
        self.sources: set[str] = set()
        self.recorder: Recorder | None = None
        self.closed = False
        self.error: TailraceError | None = None
        self.ready, self.closing = asyncio.Event(), asyncio.Event()

    def begin(self, recorder: Recorder) -> None:
        with self.lock:
            self.recorder = recorder
            for line in self.early:
                recorder.post(line)
            self.early.clear()
        self.ready.set()

    def put(self, line: events.LogLine) -> None:
        with self.lock:
            if self.error is not None:
                raise self.error
            if self.closed:
                raise LogSealed(f"{self.name} was closed")
            self.sources.add(line.source)
            if self.recorder is not None:
                self.recorder.post(line)
            elif len(self.early) < OUTBOX_MAX_EVENTS:
                self.early.append(line)
            else:
                raise Overloaded(f"{OUTBOX_MAX_EVENTS} lines of {self.name} wait for its log")

    def close(self) -> None:
        with self.lock:
            self.closed = True

    def fail(self, error: TailraceError) -> None:
        with self.lock:
            self.error = error
        self.ready.set()


class LogBroker:
    """Lines of many ids. Make it inside the event loop of an open runtime.

    broker = LogBroker(tailrace)
    async with broker.subscribe("build-7") as lines:
        broker.publish("build-7", "compiling")
        async for line in lines: ...
    broker.close("build-7")
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._topics: dict[str, _Topic] = {}
        self._closed: dict[str, None] = {}

    def publish(self, id: str, line: str, *, level: str = "info", source: str = "log") -> None:  # noqa: A002 - the seed's own word
        """Write a line (or several, where the text has line breaks). Safe from any thread.

        It is in the log soon after, in the order of the calls. In a thread it waits while too
        many lines are on their way; on the event loop it raises Overloaded then.
        Raises LogSealed after `close`, InvalidRequest for an id that no URL could hold.
        """
        topic = self._topic(id)
        for part in lines_of(line):
            said = events.LogLine(line=part, level=level, source=source)
            try:
                topic.put(said)
            except Overloaded:
                if threading.get_ident() == self._thread:
                    raise
                asyncio.run_coroutine_threadsafe(self._settled(topic), self._loop).result()
                topic.put(said)

    def close(self, id: str) -> None:  # noqa: A002 - the seed's own word
        """Say that no more lines come: every subscriber's loop ends. Closing twice is closing once.

        Safe from any thread.
        """
        with suppress(LogSealed):
            topic = self._topic(id)
            topic.close()
            self._call(topic.closing.set)

    def _forget(self, topic: _Topic) -> None:
        with self._lock:
            self._topics.pop(topic.name, None)
            self._closed[topic.name] = None
            if len(self._closed) > CLOSED_KEPT:
                del self._closed[next(iter(self._closed))]

    @asynccontextmanager
    async def subscribe(
        self,
        id: str,  # noqa: A002 - the seed's own word
        *,
        replay: bool = False,
    ) -> AsyncIterator[AsyncIterator[str]]:
        """Iterate over the lines published from now on or, with `replay`, over all of them.

        Leaving the block leaves nothing behind. Raises ShuttingDown in the loop if this process
        ends first.
        """
        head = await self._head(id)
        after = 0 if replay else head
        async with aclosing(self._lines(id, after)) as lines:
            yield lines

    async def _head(self, id: str) -> int:  # noqa: A002
        """Where the log is when everything published so far is in it."""
        # Where it is closed, or its log is of another process, that log is all there is.
        with suppress(LogSealed):
            await self._settled(self._topic(id))
        return (await self._runtime.log.entry(id)).head

    async def _lines(self, id: str, after: int) -> AsyncGenerator[str, None]:  # noqa: A002
        async with aclosing(self._runtime.follow(id, after, events="log.line")) as found:
            async for event in found:
                if event.type == "log.line":
                    yield str(event.data["line"])

    async def _settled(self, topic: _Topic) -> None:
        await topic.ready.wait()
        if topic.error is not None:
            raise topic.error
        assert topic.recorder is not None
        await topic.recorder.flush()

    # --- an id's execution ----------------------------------------------------------------------

    def _topic(self, id: str) -> _Topic:  # noqa: A002
        with self._lock:
            if id in self._closed:
                raise LogSealed(f"{id} was closed")
            topic = self._topics.get(id)
            if topic is None:
                if not _ID.fullmatch(id):
                    raise InvalidRequest(
                        f"{id[:80]!r} is no id", hint="Letters, digits and . _ -, up to 128."
                    )
                topic = self._topics[id] = _Topic(id)
                self._call(partial(self._runtime.spawn, partial(self._begin, topic)))
        return topic

    def _call(self, callback: Callable[[], object]) -> None:
        if threading.get_ident() == self._thread:
            callback()
        else:
            self._loop.call_soon_threadsafe(callback)

    async def _begin(self, topic: _Topic) -> None:
        async def work(recorder: Recorder) -> Ending:
            topic.begin(recorder)
            try:
                await topic.closing.wait()
                if topic.sources:
                    sealed = [events.LogSealed(source=name) for name in sorted(topic.sources)]
                    await recorder.emit(*sealed)
            finally:
                self._forget(topic)
            return events.ExecutionCompleted(total_duration_ms=recorder.elapsed_ms())

        queued = events.ExecutionQueued(kind="workload", flow=topic.name)
        try:
            await self._runtime.begin(queued, work, execution_id=topic.name)
        except ExecutionExists:
            topic.fail(LogSealed(f"{topic.name} was begun before, by another broker"))
            self._forget(topic)
        except TailraceError as error:
            _logger.error("the lines of %s cannot be kept: %s", topic.name, error)
            topic.fail(error)
