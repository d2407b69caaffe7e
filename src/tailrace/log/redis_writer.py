"""What a process writes to Redis: its appends in rounds, each log's of a round in one script.

The law of this file: a round that got no answer is sent again under the same number, and the
server answers it from what it noted (`w:HANDLE`), so a lost connection neither loses a batch nor
appends one twice. That needs one command for each log in a round, and one round at a time.
"""

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from tailrace.clock import stopwatch
from tailrace.errors import ExecutionNotFound
from tailrace.events import Draft
from tailrace.log.base import Entry, Opening, Producer
from tailrace.log.redis_lane import Job, Lane
from tailrace.log.redis_link import Command, Link
from tailrace.log.redis_scripts import APPEND, CREATE
from tailrace.log.rules import advance

ROUND_MAX_JOBS = 512  # bounds how long one round can make the first of it wait
ROUND_MAX_BYTES = 8_388_608  # likewise, and what one script holds in the server's memory
KNOWN_LOGS = 10_000  # heads that are remembered, to notice one that goes back
KNOWN_ROUNDS = 64  # whose time is remembered: their messages are about to come

# What a batch makes of an entry is `advance`'s to say; this is the one that it says it of.
NOTHING = Entry(execution_id="", workspace="", kind="", flow="", epoch="", created_at="")


@dataclass(frozen=True, slots=True)
class Batch:
    """An append: where to, and what the script is told of it."""

    execution_id: str
    arguments: Sequence[Any]
    size: int


@dataclass(frozen=True, slots=True)
class Making:
    """A log to create."""

    opening: Opening
    drafts: Sequence[Draft]
    tails: Sequence[bytes]
    producer: str


def batch(
    execution_id: str,
    drafts: Sequence[Draft],
    tails: Sequence[bytes],
    *,
    expected: int | None = None,
    producer: Producer | None = None,
    attempt: int | None = None,
) -> Batch:
    """Describe an append."""
    values = _values(drafts)
    arguments: list[Any] = [
        producer.name if producer else "",
        producer.seq if producer else 0,
        "" if expected is None else expected,
        "" if attempt is None else attempt,
        len(drafts),
        len(values) // 2,
        *_described(drafts, tails),
        *_events(drafts, tails),
        *values,
    ]
    return Batch(execution_id, arguments, sum(map(len, tails)) + sum(map(len, values)))


def _described(drafts: Sequence[Draft], tails: Sequence[bytes]) -> tuple[Any, ...]:
    """What a batch makes of an entry: time, status event, attempt, bytes, aside, whether it ends."""
    made = advance(NOTHING, drafts, tails)
    sizes = (made.bytes, made.aside_bytes)
    return made.updated_at, made.last_status_event, made.attempt, *sizes, int(made.sealed)


def _events(drafts: Sequence[Draft], tails: Sequence[bytes]) -> list[str | bytes]:
    return [part for pair in zip([d.type for d in drafts], tails, strict=True) for part in pair]


def _values(drafts: Sequence[Draft]) -> list[str | bytes]:
    aside: dict[str, bytes] = {}
    for draft in drafts:
        aside |= draft.aside or {}
    return [part for pair in aside.items() for part in pair]


class Writer:
    """The one who writes, for a process; `lane.run` does it. `measure` hears how long a round took."""

    def __init__(self, link: Link, measure: Callable[[float], None]) -> None:
        self._link, self._keys, self._measure = link, link.keys, measure
        self._handle = secrets.token_hex(4)
        self._round = 0
        self._heads: dict[str, tuple[int, str]] = {}  # with the epoch: another life has its own
        self._sent: dict[int, float] = {}
        self.lane = Lane(self._work, ROUND_MAX_JOBS)

    async def append(self, batch: Batch) -> Sequence[Any]:
        """Append; returns what APPEND answered. Raises ExecutionNotFound or StoreError."""
        answer: Sequence[Any] = await self.lane.do(batch)
        return answer

    async def create(
        self,
        opening: Opening,
        drafts: Sequence[Draft],
        tails: Sequence[bytes],
        producer: Producer | None = None,
    ) -> bool:
        """Make a log; returns whether it was not there. Raises StoreError."""
        name = producer.name if producer else ""
        return bool(await self.lane.do(Making(opening, drafts, tails, name)))

    def sent(self, handle: str, round_: int) -> float | None:
        """When the first of a round was handed in; None if that was not here, or long ago."""
        return self._sent.get(round_) if handle == self._handle else None

    async def do(self, command: Command) -> Any:
        """Send any other command that may be sent twice. Raises StoreError."""
        return await self.lane.do(command)

    async def _work(self, jobs: Sequence[Job]) -> None:
        for group in _groups(jobs):
            await self._send(group)

    async def _send(self, jobs: Sequence[Job]) -> None:
        self._round += 1
        self._sent[self._round] = min(job.at for job in jobs)
        self._sent.pop(self._round - KNOWN_ROUNDS, None)
        began = stopwatch()
        waiting: dict[str, list[Job]] = {}
        for job in jobs:
            if isinstance(job.work, Batch):
                waiting.setdefault(job.work.execution_id, []).append(job)
        others = [job for job in jobs if not isinstance(job.work, Batch)]
        commands = [self._appending(id_, of) for id_, of in waiting.items()]
        commands += [self._other(job.work) for job in others]
        answers = await self._link.run(commands, assured=True)
        if waiting:
            self._measure(stopwatch() - began)
        for (execution_id, of), answer in zip(waiting.items(), answers, strict=False):
            self._answer(execution_id, of, answer)
        for job, answer in zip(others, answers[len(waiting) :], strict=True):
            job.settle(answer)

    def _appending(self, execution_id: str, jobs: Sequence[Job]) -> Command:
        arguments = [
            self._handle,
            self._round,
            *self._heads.get(execution_id, (0, "")),
            secrets.token_hex(4),
            self._keys.told(execution_id),
        ]
        for job in jobs:
            arguments += job.work.arguments
        return Command(APPEND, arguments, self._keys.log(execution_id)[:3])

    def _other(self, work: Command | Making) -> Command:
        return work if isinstance(work, Command) else self._making(work)

    def _making(self, making: Making) -> Command:
        opening, drafts = making.opening, making.drafts
        values = _values(drafts)
        arguments = [
            self._handle,
            self._round,
            secrets.token_hex(4),
            opening.workspace,
            opening.kind,
            opening.flow,
            drafts[0].ts,
            opening.lease_until or "",
            int(opening.ephemeral),
            self._keys.told(opening.execution_id),
            *_described(drafts, making.tails),
            making.producer,
            len(drafts),
            len(values) // 2,
            *_events(drafts, making.tails),
            *values,
        ]
        return Command(CREATE, arguments, self._keys.log(opening.execution_id))

    def _answer(self, execution_id: str, jobs: Sequence[Job], answer: Any) -> None:
        """Give each its part of the script's answer, and remember the head."""
        if answer is None:
            answer = not_found(execution_id)
        if isinstance(answer, BaseException):
            self._heads.pop(execution_id, None)
            for job in jobs:
                job.settle(answer)
            return
        epoch, *answers = from_json(answer)
        if len(self._heads) >= KNOWN_LOGS:
            self._heads.clear()
        head = max(a[2] if a[0] == "ok" else a[1] for a in answers)
        self._heads[execution_id] = (head, epoch)
        for job, part in zip(jobs, answers, strict=True):
            job.settle(part)


def _groups(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """Cut jobs into rounds that are not too large."""
    group: list[Job] = []
    size = 0
    for job in jobs:
        more = job.work.size if isinstance(job.work, Batch) else 0
        if group and size + more > ROUND_MAX_BYTES:
            yield group
            group, size = [], 0
        group.append(job)
        size += more
    if group:
        yield group


def not_found(execution_id: str) -> ExecutionNotFound:
    """Say that there is none."""
    return ExecutionNotFound(f"There is no execution {execution_id!r} here")
