"""What a process writes to Redis: its appends in rounds, each log's of a round in one script.

The law of this file: a round that got no answer is sent again under the same number, and the
server answers it from what it noted (`w:HANDLE`), so a lost connection neither loses a batch nor
appends one twice. That needs one command for each log in a round, and one round at a time.
"""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from tailrace.errors import ExecutionNotFound
from tailrace.events import TERMINAL, Draft
from tailrace.lifecycle import STATUS_EVENTS
from tailrace.log.base import Opening, Producer
from tailrace.log.redis_lane import Job, Lane
from tailrace.log.redis_link import Command, Link
from tailrace.log.redis_scripts import APPEND, CREATE, Keys

ROUND_MAX_JOBS = 512  # bounds how long one round can make the first of it wait
ROUND_MAX_BYTES = 8_388_608  # likewise, and what one script holds in the server's memory
KNOWN_LOGS = 10_000  # heads that are remembered, to notice one that goes back


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


def batch(
    execution_id: str,
    drafts: Sequence[Draft],
    tails: Sequence[bytes],
    expected: int | None,
    producer: Producer | None,
) -> Batch:
    """Describe an append."""
    values, facts = _values(drafts), _described(drafts)
    arguments: list[Any] = [
        producer.name if producer else "",
        producer.seq if producer else 0,
        "" if expected is None else expected,
        len(drafts),
        len(values) // 2,
        *facts,
        *_events(drafts, tails),
        *values,
    ]
    return Batch(execution_id, arguments, sum(map(len, tails)) + sum(map(len, values)))


def _described(drafts: Sequence[Draft]) -> tuple[str, str, int]:
    """The entry after a batch: its time, its status event or '', whether it is the end."""
    status = ""
    for draft in drafts:
        if draft.type in STATUS_EVENTS:
            status = draft.type
    return drafts[-1].ts, status, int(drafts[-1].type in TERMINAL)


def _events(drafts: Sequence[Draft], tails: Sequence[bytes]) -> list[str | bytes]:
    return [part for pair in zip([d.type for d in drafts], tails, strict=True) for part in pair]


def _values(drafts: Sequence[Draft]) -> list[str | bytes]:
    aside: dict[str, bytes] = {}
    for draft in drafts:
        aside |= draft.aside or {}
    return [part for pair in aside.items() for part in pair]


class Writer:
    """The one who writes, for a process; `lane.run` does it."""

    def __init__(self, link: Link) -> None:
        self._link, self._keys = link, link.keys
        self._handle = secrets.token_hex(4)
        self._round = 0
        self._heads: dict[str, int] = {}
        self.lane = Lane(self._work, ROUND_MAX_JOBS)

    async def append(self, batch: Batch) -> Sequence[Any]:
        """Append; returns what APPEND answered. Raises ExecutionNotFound or StoreError."""
        answer: Sequence[Any] = await self.lane.do(batch)
        return answer

    async def create(self, opening: Opening, drafts: Sequence[Draft], tails: list[bytes]) -> bool:
        """Make a log; returns whether it was not there. Raises StoreError."""
        return bool(await self.lane.do(Making(opening, drafts, tails)))

    async def do(self, command: Command) -> Any:
        """Send any other command that may be sent twice. Raises StoreError."""
        return await self.lane.do(command)

    async def _work(self, jobs: Sequence[Job]) -> None:
        for group in _groups(jobs):
            await self._send(group)

    async def _send(self, jobs: Sequence[Job]) -> None:
        self._round += 1
        waiting: dict[str, list[Job]] = {}
        for job in jobs:
            if isinstance(job.work, Batch):
                waiting.setdefault(job.work.execution_id, []).append(job)
        others = [job for job in jobs if not isinstance(job.work, Batch)]
        commands = [self._appending(id_, of) for id_, of in waiting.items()]
        commands += [self._other(job.work) for job in others]
        answers = await self._link.run(commands, assured=True)
        for (execution_id, of), answer in zip(waiting.items(), answers, strict=False):
            self._answer(execution_id, of, answer)
        for job, answer in zip(others, answers[len(waiting) :], strict=True):
            job.settle(answer)

    def _appending(self, execution_id: str, jobs: Sequence[Job]) -> Command:
        arguments = [
            self._handle,
            self._round,
            self._heads.get(execution_id, 0),
            secrets.token_hex(4),
            self._keys.told(execution_id),
        ]
        for job in jobs:
            arguments += job.work.arguments
        return Command(APPEND, arguments, self._keys.log(execution_id))

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
            self._keys.told(opening.execution_id),
            *_described(drafts),
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
        answers = from_json(answer)
        if len(self._heads) >= KNOWN_LOGS:
            self._heads.clear()
        self._heads[execution_id] = max(a[2] if a[0] == "ok" else a[1] for a in answers)
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


def others_keys(keys: Keys, workspace: str) -> tuple[str, str, str, str]:
    """The keys of ANNOUNCE."""
    return keys.number(), keys.index(workspace), keys.open(workspace), keys.leases()
