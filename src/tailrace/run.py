"""`Run`: an execution in the hands of who started it.

The law of this file: an execution does not depend on what is held of it here. What is said of it
comes from the log, in whichever process it runs.
"""

from collections.abc import Generator, Mapping
from typing import Any

from pydantic_core import from_json

from tailrace.executions import Executions
from tailrace.following import Follow
from tailrace.lifecycle import ExecutionState, digest_of, outcome
from tailrace.reader import Reader


class Run:
    """An execution, wherever it runs. It does not depend on this object or on any watcher."""

    def __init__(self, reader: Reader, executions: Executions, execution_id: str) -> None:
        self.id = execution_id
        self._reader, self._executions = reader, executions
        self._here = executions.here.get(execution_id)  # if this process runs it

    async def wait(self) -> ExecutionState:
        """Wait for the end and return the folded execution, however it ended.

        Raises StoreError if the log could not take the end. A cancelled wait stops nothing.
        """
        await self._ended()
        state = await self._reader.view(self.id)
        state.output = await self._whole(state.output, state.end or {})
        return state

    async def _whole(self, output: Any, end: Mapping[str, Any]) -> Any:
        """An output that was too large for its event is kept aside."""
        digest = digest_of(end)
        if digest is None:
            return output
        return from_json(await self._reader.log.payload(self.id, digest))

    async def _ended(self) -> None:
        if self._here is None:
            entry = await self._reader.log.entry(self.id)
            async for _ in self.follow(max(entry.head - 1, 0)):
                pass
            return
        await self._here.ended.wait()
        if self._here.error is not None:
            raise self._here.error

    async def result(self) -> Any:
        """Wait for the end and return the output (null for one that streamed).

        Raises the ExecutionError that says how it ended otherwise.
        """
        await self._ended()
        log = self._reader.log
        head = (await log.entry(self.id)).head
        end = (await log.read(self.id, head - 1, 1))[0].event()
        return await self._whole(outcome(end), end.data)

    def __await__(self) -> Generator[Any, None, Any]:
        return self.result().__await__()

    def follow(self, after: str | int | None = None) -> Follow:
        """Follow its events, from the first."""
        return self._reader.follow(self.id, after)

    async def cancel(self, *, by: str = "api", reason: str | None = None) -> None:
        """Ask it to stop."""
        await self._executions.cancel(self.id, by=by, reason=reason)
