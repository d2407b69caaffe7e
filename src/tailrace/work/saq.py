"""The work queue on SAQ, in Redis.

The law of this file: SAQ carries and keeps the jobs; what to run, and who may, it does not know.
Each queue is three of SAQ's, one a priority. SAQ's own settings are those that passed our tests
of killed workers and long jobs (research/engines.md section 6): no timeout, a heartbeat that we
beat ourselves, sweeps, more retries than there can be.

A worker takes from many of SAQ's queues in the order of their priority, which SAQ's own blocking
`dequeue` of one queue cannot do: a script moves the first job there is, as `dequeue` would have.
Who finds none waits for the bell that `submit` rings, and looks anyway after a second: for what
was due later, or put back by a sweep. SAQ's own sweep asks the silent worker first and waits for
its word, one job after the other; and the task that listens for it can then spin without ever
giving the event loop back (0.26.4: its pub/sub object is closed under it). So the sweep is here:
the log fences who is silent, nobody has to be asked.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import AsyncIterator, Collection, Sequence
from types import TracebackType
from typing import Any, Self

from redis.exceptions import ReadOnlyError, RedisError
from saq.job import Job as SaqJob
from saq.job import Status
from saq.queue.redis import RedisQueue

from tailrace.clock import stopwatch
from tailrace.errors import QueueUnavailable
from tailrace.log.redis_address import Address, close
from tailrace.work.base import PRIORITIES, Job, Priority

ANSWER_S = 5.0  # for what is asked of the server: who waits for ever neither works nor beats
BELL_S = 1.0
BELL_MAX = 1000  # rings that nobody heard yet; a worker that hears one looks for all there is
RETRIES = 1_000_000  # how often a job is delivered; how often it is run, the log says
_logger = logging.getLogger("tailrace")
_TAKE = """
for i = 1, #KEYS, 2 do
  local id = redis.call('LMOVE', KEYS[i], KEYS[i + 1], 'LEFT', 'RIGHT')
  if id then return {(i + 1) / 2, id} end
end
return nil
"""


class SaqQueue:
    """`patience_s`: how long a worker may be silent before others take its jobs."""

    def __init__(self, url: str, *, patience_s: float) -> None:
        # As the store reads it: with its prefix, which keeps several in one Redis apart, and by
        # Sentinel, where it names one.
        address = Address(url)
        self._prefix = address.prefix
        # Any: redis-py types its commands as sync and async at once.
        self._redis: Any = address.client()
        self._patience_s = max(round(patience_s), 1)
        self._queues: dict[tuple[str, Priority], RedisQueue] = {}
        self._taken: dict[str, SaqJob] = {}  # by our key
        self._scheduled_at = 0.0
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
            await close(self._redis)

    @contextlib.asynccontextmanager
    async def _answered(self, waiting_s: float = 0.0) -> AsyncIterator[None]:
        """Turn the driver's exceptions, and its silence, into ours: the one place for SAQ.

        `waiting_s`: how long the server was told to wait.
        """
        try:
            async with asyncio.timeout(ANSWER_S + waiting_s):
                yield
        except (RedisError, OSError) as error:
            if isinstance(error, ReadOnlyError):
                # A failover has made it a replica; the address may lead elsewhere by now.
                await self._redis.connection_pool.disconnect()
            raise QueueUnavailable(f"The work queue: {str(error) or 'no answer'}") from error

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
            scheduled=math.ceil(job.at_s),  # its seconds are whole: none begins before its time
        )
        async with self._answered():
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
        async with self._answered():
            if found := await self._kept(self._of(job), job.key):
                await self._of(job).abort(found, "cancelled")
                # What SAQ leaves, for its own workers to see, would keep another of the name out.
                await self._redis.delete(found.id, found.abort_id)

    async def take(self, queues: Sequence[str]) -> Job:
        """Wait for a job."""
        order = [(name, priority) for priority in PRIORITIES for name in queues]
        while True:
            async with self._answered(BELL_S):
                if stopwatch() - self._scheduled_at >= BELL_S:
                    self._scheduled_at = stopwatch()
                    for name, priority in order:
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
            found = await self._kept(queue, key)
            if found is None:  # cancelled between the two
                await self._drop(queue, moved[1])
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
        for job in jobs:
            if found := self._taken.get(job.key):
                found.touched = round(time.time() * 1000)
                # Only where it is: one that is done in between must not come back. (SAQ's own
                # update would bring it.)
                told = self._of(job).serialize(found)
                async with self._answered():
                    await self._redis.set(found.id, told, xx=True)

    async def done(self, job: Job) -> None:
        """Take a job out that was taken."""
        found = self._taken.pop(job.key, None)
        async with self._answered():
            if found is not None:
                await found.finish(Status.COMPLETE)

    async def give_back(self, job: Job, delay_s: float) -> None:
        """Put a job back that was taken."""
        found = self._taken.pop(job.key, None)
        async with self._answered():
            if found is not None:
                found.retry_delay = delay_s
                await found.retry(None)
                await self._ring(job.queue)

    async def sweep(self) -> None:
        """Put back what nobody beats for."""
        for queue in tuple(self._queues.values()):
            lock = queue.namespace("sweep")
            async with self._answered():
                first = await self._redis.set(lock, 1, nx=True, ex=max(self._patience_s // 2, 1))
                held = await self._redis.lrange(queue.namespace("active"), 0, -1) if first else []
            for job_id in held:
                async with self._answered():
                    await self._sweep(queue, job_id)

    async def _sweep(self, queue: RedisQueue, job_id: bytes) -> None:
        found = await self._kept(queue, queue.job_key_from_id(job_id.decode()))
        if found is None:
            await self._drop(queue, job_id)
        elif time.time() - max(found.touched, found.queued) / 1000 > self._patience_s:
            await found.retry("its worker was silent")

    async def _kept(self, queue: RedisQueue, key: str) -> SaqJob | None:
        """What there is of a job; nothing where this SAQ cannot read it: the log submits it anew."""
        try:
            return await queue.job(key)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            _logger.warning("job %s is dropped: another version of SAQ made it? %s", key, error)
            return None

    async def _drop(self, queue: RedisQueue, job_id: bytes) -> None:
        """Take a job from the lists that is not there: while one names it, none can be put in."""
        async with self._redis.pipeline() as pipe:
            pipe.lrem(queue.namespace("active"), 0, job_id)
            pipe.zrem(queue.namespace("incomplete"), job_id)
            await pipe.execute()

    async def waiting(self, queue: str) -> int:
        """How many jobs wait."""
        async with self._answered():
            counts: list[int] = [
                await self._queue(queue, priority).count("queued") for priority in PRIORITIES
            ]
        return sum(counts)
