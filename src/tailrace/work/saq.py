"""The work queue on SAQ, in Redis.

The law of this file: SAQ carries and keeps the jobs; what to run, and who may, it does not know.
Each queue is three of SAQ's, one a priority. SAQ's own settings are those that passed our tests
of killed workers and long jobs (research/engines.md section 6): no timeout, a heartbeat that we
beat ourselves, sweeps, more retries than there can be.

A worker takes from many of SAQ's queues in the order of their priority, which SAQ's own blocking
`dequeue` of one queue cannot do: a script moves the first job there is, as `dequeue` would have.
Who finds none waits for the bell that `submit` rings, and looks anyway after a second: for what
was due later, or put back by a sweep.
"""

import contextlib
from collections.abc import Collection, Iterator, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from redis.asyncio import Redis
from redis.exceptions import RedisError
from saq.job import Job as SaqJob
from saq.job import Status
from saq.queue.redis import RedisQueue

from tailrace.errors import QueueUnavailable
from tailrace.work.base import PRIORITIES, Job, Priority

BELL_S = 1.0
BELL_MAX = 1000  # rings that nobody heard yet; a worker that hears one looks for all there is
ABORT_S = 0.1  # SAQ's sweep waits so long for a worker's word, one job after the other
RETRIES = 1_000_000  # how often a job is delivered; how often it is run, the log says
_TAKE = """
for i = 1, #KEYS, 2 do
  local id = redis.call('LMOVE', KEYS[i], KEYS[i + 1], 'LEFT', 'RIGHT')
  if id then return {(i + 1) / 2, id} end
end
return nil
"""


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Turn the driver's exceptions into ours: the one place for SAQ."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise QueueUnavailable(f"The work queue: {error}") from error


class SaqQueue:
    """`patience_s`: how long a worker may be silent before others take its jobs."""

    def __init__(self, url: str, *, patience_s: float) -> None:
        # The store's own `prefix` keeps several Tailraces in one Redis apart; here as well.
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query))
        self._prefix = options.pop("prefix", "tailrace")
        url = parts._replace(query=urlencode(options)).geturl()
        # Any: redis-py types its commands for the sync client and this one at once.
        self._redis: Any = Redis.from_url(url)
        self._patience_s = max(round(patience_s), 1)
        self._queues: dict[tuple[str, Priority], RedisQueue] = {}
        self._taken: dict[str, SaqJob] = {}  # by our key
        self._script = self._redis.register_script(_TAKE)

    async def __aenter__(self) -> Self:
        """Open it; its server is asked for when something is wanted of it."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        with contextlib.suppress(RedisError, OSError):
            for queue in self._queues.values():
                await queue.disconnect()
            await self._redis.aclose()

    def _queue(self, name: str, priority: Priority) -> RedisQueue:
        found = self._queues.get((name, priority))
        if found is None:
            found = RedisQueue(self._redis, name=f"{self._prefix}.{name}.{priority}")
            self._queues[name, priority] = found
        return found

    def _of(self, job: Job) -> RedisQueue:
        return self._queue(job.queue, job.priority)

    async def submit(self, job: Job) -> None:
        """Put a job in; one that is in already stays as it is."""
        made = SaqJob(
            function="tailrace",
            key=job.key,
            timeout=0,
            heartbeat=self._patience_s,
            retries=RETRIES,
            ttl=-1,  # nothing of it stays when it is done: the log tells
            scheduled=round(job.at_s),
        )
        with _translated():
            await self._of(job).enqueue(made)
            await self._ring(job.queue)

    async def _ring(self, queue: str) -> None:
        async with self._redis.pipeline() as pipe:
            pipe.rpush(self._bell(queue), "1").ltrim(self._bell(queue), -BELL_MAX, -1)
            await pipe.execute()

    def _bell(self, queue: str) -> str:
        return f"{self._prefix}:bell:{queue}"

    async def cancel(self, job: Job) -> None:
        """Take a job out that waits."""
        with _translated():
            if found := await self._of(job).job(job.key):
                await self._of(job).abort(found, "cancelled")

    async def take(self, queues: Sequence[str]) -> Job:
        """Wait for a job."""
        order = [(name, priority) for priority in PRIORITIES for name in queues]
        with _translated():
            while True:
                for name, priority in order:  # SAQ's own lock makes that one a second of all
                    await self._queue(name, priority).schedule()
                if job := await self._first(order):
                    return job
                await self._redis.blpop([self._bell(name) for name in queues], timeout=BELL_S)

    async def _first(self, order: Sequence[tuple[str, Priority]]) -> Job | None:
        keys = []
        for of in order:
            queue = self._queue(*of)
            keys += [queue.namespace("queued"), queue.namespace("active")]
        while moved := await self._script(keys=keys):
            name, priority = order[int(moved[0]) - 1]
            queue = self._queue(name, priority)
            key = queue.job_key_from_id(moved[1].decode())
            found = await queue.job(key)
            if found is None:  # cancelled between the two
                await self._redis.lrem(queue.namespace("active"), 0, moved[1])
                continue
            await found.update(status=Status.ACTIVE)
            execution_id, _, attempt = key.rpartition("/")
            self._taken[key] = found
            return Job(
                execution_id=execution_id, attempt=int(attempt), queue=name, priority=priority
            )
        return None

    async def beat(self, jobs: Collection[Job]) -> None:
        """Say that these are worked on."""
        with _translated():
            for job in jobs:
                if found := self._taken.get(job.key):
                    await found.update()
                    if job.key not in self._taken:  # done in between: what was written anew goes
                        await self._redis.delete(found.id)

    async def done(self, job: Job) -> None:
        """Take a job out that was taken."""
        found = self._taken.pop(job.key, None)
        with _translated():
            if found is not None:
                await found.finish(Status.COMPLETE)

    async def give_back(self, job: Job, delay_s: float) -> None:
        """Put a job back that was taken."""
        found = self._taken.pop(job.key, None)
        with _translated():
            if found is not None:
                found.retry_delay = delay_s
                await found.retry(None)
                await self._ring(job.queue)

    async def sweep(self) -> None:
        """Put back what nobody beats for."""
        with _translated():
            for queue in self._queues.values():
                await queue.sweep(lock=max(self._patience_s // 2, 1), abort=ABORT_S)

    async def waiting(self, queue: str) -> int:
        """How many jobs wait."""
        with _translated():
            counts: list[int] = [
                await self._queue(queue, priority).count("queued") for priority in PRIORITIES
            ]
        return sum(counts)
