"""What is said while the store fails is in the log once, in order, when it works again."""

from collections.abc import Sequence
from typing import Any

import anyio
from hypothesis import given, settings
from hypothesis import strategies as st

from tailrace.errors import Overloaded, StoreBusy, StoreError
from tailrace.events import LogLine
from tailrace.log.memory import MemoryLog
from tailrace.recorder import Recorder
from tailrace.testing import FakeClock
from tailrace.testing.contract.tools import begin, lines, read_all

STEP = st.one_of(
    st.tuples(st.just("post"), st.integers(1, 3)),
    st.tuples(st.just("emit"), st.integers(1, 3)),
    st.tuples(st.just("flush"), st.just(0)),
    st.tuples(st.just("fail"), st.sampled_from([0, 1])),
    st.tuples(st.just("unreadable"), st.just(0)),
    st.tuples(st.just("other"), st.integers(1, 3)),
)


class Failing(MemoryLog):
    """The next appends fail: before they are done, or (1) after; a read may fail, too."""

    def __init__(self) -> None:
        super().__init__()
        self.plan: list[int] = []
        self.unreadable = 0

    async def append(self, *arguments: Any, **how: Any) -> Any:
        if not self.plan:
            return await super().append(*arguments, **how)
        if self.plan.pop(0):
            await super().append(*arguments, **how)
        raise StoreBusy

    async def read(self, *arguments: Any) -> Any:
        if self.unreadable:
            self.unreadable -= 1
            raise StoreBusy
        return await super().read(*arguments)


@settings(max_examples=200, deadline=None)
@given(steps=st.lists(STEP, max_size=40), alike=st.booleans())
def test_what_was_said_is_in_the_log_once_and_in_order(
    steps: Sequence[tuple[str, int]], alike: bool
) -> None:
    anyio.run(_said, steps, alike)


async def _said(steps: Sequence[tuple[str, int]], alike: bool) -> None:
    async with Failing() as log:
        await begin(log)
        recorder, said = Recorder(log, FakeClock(), "X1"), list[str]()

        def payloads(count: int) -> list[LogLine]:
            texts = ["same" if alike else str(len(said) + number) for number in range(count)]
            said.extend(texts)
            return [LogLine(line=text, source="ours") for text in texts]

        for kind, number in steps:
            try:
                if kind == "post":
                    for payload in payloads(number):
                        recorder.post(payload)
                elif kind == "emit":
                    await recorder.emit(*payloads(number))
                elif kind == "flush":
                    await recorder.flush()
                elif kind == "other":  # another process says something in the same log
                    plan, log.plan = log.plan, []
                    other = Recorder(log, FakeClock(), "X1")
                    await other.emit(*[LogLine(line="theirs", source="theirs")] * number)
                    log.plan = plan
                elif kind == "unreadable":
                    log.unreadable += 1
                else:
                    log.plan.append(number)
            except (StoreError, Overloaded):
                pass
        log.plan, log.unreadable = [], 0
        await recorder.flush()
        found = [text for text in lines(await read_all(log, "X1", 1)) if text != "theirs"]
        assert found == said
