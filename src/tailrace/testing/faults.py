"""A log that fails when told to: to test what happens when the store does.

The law of this file: a fault comes before the real call, so nothing is written by a call that
fails; `lose_answer` is the other case, where the write is done and the caller never learns.
"""

from collections.abc import Sequence
from typing import Any

from tailrace.errors import TailraceError
from tailrace.events import Draft
from tailrace.log.base import Appended, EventLog, Producer


class FaultyLog:
    """Passes everything on to `inner`, but for the appends that `plan` names.

    `plan` maps an event type to the errors that the next appends holding it raise, one each.
    """

    def __init__(
        self,
        inner: EventLog,
        plan: dict[str, list[TailraceError]],
        *,
        lose_answer: bool = False,
    ) -> None:
        self._inner, self._plan, self._lose_answer = inner, plan, lose_answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def __aenter__(self) -> "FaultyLog":
        await self._inner.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._inner.aclose()

    async def append(
        self,
        execution_id: str,
        drafts: Sequence[Draft],
        *,
        expected: int | None = None,
        producer: Producer | None = None,
        attempt: int | None = None,
    ) -> Appended:
        """Append, unless the plan says otherwise."""
        how: dict[str, Any] = {"expected": expected, "producer": producer, "attempt": attempt}
        for draft in drafts:
            if errors := self._plan.get(draft.type):
                error = errors.pop(0)
                if self._lose_answer:
                    await self._inner.append(execution_id, drafts, **how)
                raise error
        return await self._inner.append(execution_id, drafts, **how)
