"""Jobs: an execution that an engine was given together with a token to report it by.

The law of this file: a token speaks for one execution and for nothing else. It never travels: an
engine signs with it what it sends, with the time of sending. A signature is good for
SIGNATURE_MAX_AGE_S; sent again it can write nothing, because batches are numbered, and is told so
(`replayed`). The token itself is kept as it is, beside the log that it can write to: a hash of it
could check nothing.

The messages are those that the source document's engine sends: `event`, `node_key`, `data`,
`timestamp`.
"""

import hmac
import json
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tailrace import events
from tailrace.clock import rfc3339
from tailrace.errors import (
    ExecutionNotFound,
    InvalidRequest,
    Replayed,
    SignatureInvalid,
    SignatureStale,
)
from tailrace.ingest import Ingest, Taken
from tailrace.log.base import Producer
from tailrace.reported import NODE_NAME, PRODUCER_NAME, Batch, Report
from tailrace.runtime import Runtime

SIGNATURE_MAX_AGE_S = 300  # and as much in the future: clocks differ, requests wait in queues
_GOOD_S = SIGNATURE_MAX_AGE_S + 1  # a second more, for what is rounded
VERSION = "v1"
_TIME = re.compile(r"[0-9]{1,11}(\.[0-9]{1,6})?")
_JOB, _SEEN = "job", "signature"  # kinds of facts
_NO_TOKEN = "0" * 64


class Job(BaseModel):
    """What an engine is given to do."""

    model_config = ConfigDict(extra="forbid")
    flow: str = Field(min_length=1, max_length=200, description="What it runs, for people.")
    kind: str = Field(default="workflow", description="`workflow`, `agent`, `task`, `workload`.")
    execution_id: str | None = Field(
        default=None, description="Its id; by default a new one. Repeating it makes nothing new."
    )
    input: Any = Field(default=None, description="What it is given.")
    graph: dict[str, Any] | None = Field(default=None, description="Its IR; else it is learned.")
    lease_ms: int | None = Field(
        default=None, description="The silence after which it is lost; within the server's limit."
    )


class Told(BaseModel):
    """One report, in the words of the source document."""

    model_config = ConfigDict(extra="ignore")
    event: str = Field(max_length=200, description="`node.started`, `node.completed` …")
    node_key: str | None = Field(default=None, pattern=NODE_NAME, description="The node.")
    data: dict[str, Any] = Field(default_factory=dict, description="What there is to say of it.")
    timestamp: str | None = Field(default=None, description="When, RFC 3339; by default now.")


class Progress(Told):
    """The body of a callback: one report, or several as `events`."""

    event: str | None = Field(default=None, max_length=200)  # type: ignore[assignment] # in place of `events`
    events: list[Told] | None = Field(default=None, description="Several, in order.")
    execution_id: str = Field(description="The job's.")
    workspace: str | None = Field(default=None, description="The job's, if it is named at all.")
    producer: str = Field(default="engine", pattern=PRODUCER_NAME)
    producer_seq: int | None = Field(
        default=None,
        ge=1,
        le=2**53,
        description="1, 2, 3 … in each attempt. Without it a repeat is known by its bytes.",
    )
    attempt: int = Field(default=1, ge=1, le=1_000_000)


def sign(token: str, timestamp: str, body: bytes) -> str:
    """The signature of a body sent at a time (Unix seconds), as its header has it."""
    signed = hmac.new(token.encode(), timestamp.encode() + b"." + body, sha256)
    return f"{VERSION}={signed.hexdigest()}"


def batch_of(told: Progress) -> Batch:
    """The reports of a callback as a batch of ours. Raises InvalidRequest."""
    if (told.event is None) == (told.events is None):
        raise InvalidRequest("A callback has either `event` or `events`")
    said = [told] if told.events is None else told.events
    return Batch(
        producer=told.producer,
        producer_seq=told.producer_seq,
        attempt=told.attempt,
        events=[report_of(one) for one in said],
    )


def report_of(told: Told) -> Report:
    """One report in our words: what the source document calls otherwise is renamed."""
    data = dict(told.data)
    data.pop("status", None)  # the event's name says it
    if isinstance(data.get("error"), str):
        data["error"] = {"type": "engine_error", "message": data["error"]}
    if "progress" in data:
        data["percent"] = data.pop("progress")
    told_so = data.get("output_summary")
    summary = (dict(told_so) if isinstance(told_so, dict) else {}) | {
        ours: data.pop(theirs)
        for theirs, ours in (("output_keys", "keys"), ("output_size_bytes", "size_bytes"))
        if theirs in data
    }
    if summary:
        keys = summary.pop("output_keys", None) or []
        data["output_summary"] = {"keys": keys, "size_bytes": 0, "preview": ""} | summary
    return Report(type=told.event, node=told.node_key, ts=told.timestamp, data=data)


class Jobs:
    """Makes jobs, and takes what their engines sign."""

    def __init__(self, runtime: Runtime, ingest: Ingest) -> None:
        self._runtime, self._ingest = runtime, ingest
        self._facts, self._clock = runtime.log.facts, runtime.clock

    async def create(self, workspace: str, job: Job) -> tuple[Taken, str]:
        """Announce an execution; returns the token that speaks for it.

        Repeated with the same id it makes nothing new and returns the same token.
        Raises as Ingest.take.
        """
        now = self._clock.now()
        execution_id = job.execution_id or events.new_execution_id(now)
        data = job.model_dump(exclude={"execution_id"}, exclude_none=True)
        queued = Batch(
            producer="job", producer_seq=1, events=[Report(type="execution.queued", data=data)]
        )
        taken = await self._ingest.take(workspace, execution_id, queued)
        kept = await self._kept(execution_id)
        if kept is None:
            token = secrets.token_hex(32)
            until = rfc3339(now + timedelta(seconds=self._runtime.settings.job_token_s))
            value = json.dumps({"workspace": workspace, "token": token})
            await self._facts.put(
                _JOB, execution_id, value, now=rfc3339(now), until=until, new=True
            )
            kept = await self._kept(execution_id)  # of two that made it at once, one has
        assert kept is not None
        return taken, kept["token"]

    async def _kept(self, execution_id: str) -> Mapping[str, str] | None:
        value = await self._facts.get(_JOB, execution_id, now=rfc3339(self._clock.now()))
        found: Mapping[str, str] | None = None if value is None else json.loads(value)
        return found

    async def progress(self, job: str, timestamp: str, signature: str, body: bytes) -> Taken:
        """Take a signed callback.

        Raises SignatureStale, SignatureInvalid, Replayed, ExecutionNotFound for a report of
        anything but the job, InvalidRequest for a body that is no report, and as Ingest.take.
        """
        workspace = await self._verify(job, timestamp, signature, body)
        told = _parsed(body)
        if told.execution_id != job or told.workspace not in (None, workspace):
            raise ExecutionNotFound(f"There is no execution {told.execution_id!r} for this token")
        batch = batch_of(told)
        # A report without a number is known by its bytes: repeated, it is the same report.
        once = (
            Producer(f"body:{sha256(body).hexdigest()}", 1) if batch.producer_seq is None else None
        )
        seen = await self._seen(job, timestamp, signature)
        taken = await self._ingest.take(workspace, job, batch, once)
        if seen and taken.duplicate:
            raise Replayed
        return taken

    async def _verify(self, job: str, timestamp: str, signature: str, body: bytes) -> str:
        if not _TIME.fullmatch(timestamp):
            raise SignatureInvalid("The time of signing is missing, or no Unix time in seconds")
        away_s = self._clock.now().timestamp() - float(timestamp)
        if abs(away_s) > SIGNATURE_MAX_AGE_S:
            raise SignatureStale(
                f"Signed {abs(away_s):.0f} s {'ago' if away_s > 0 else 'in the future'};"
                f" at most {SIGNATURE_MAX_AGE_S} s are allowed"
            )
        kept = await self._kept(job) or {"token": _NO_TOKEN, "workspace": ""}
        expected = sign(kept["token"], timestamp, body)
        good = hmac.compare_digest(expected.encode(), signature.encode())
        if not good or kept["token"] == _NO_TOKEN:
            raise SignatureInvalid
        return kept["workspace"]

    async def _seen(self, job: str, timestamp: str, signature: str) -> bool:
        """Whether this very request was here before; it is remembered for as long as it is good."""
        now = rfc3339(self._clock.now())
        end = datetime.fromtimestamp(float(timestamp), UTC) + timedelta(seconds=_GOOD_S)
        key = f"{job}/{timestamp}/{signature}"
        return not await self._facts.put(_SEEN, key, "", now=now, until=rfc3339(end), new=True)


def _parsed(body: bytes) -> Progress:
    try:
        return Progress.model_validate_json(body)
    except ValidationError as error:
        raise malformed(error) from error


def malformed(error: ValidationError) -> InvalidRequest:
    """What is wrong with a body."""
    problems = [
        {"at": ".".join(str(part) for part in found["loc"]), "message": found["msg"]}
        for found in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    first = problems[0]
    return InvalidRequest(f"{first['at']}: {first['message']}", problems=problems[:20])
