"""Is a site up, and how fast does it answer? A snapshot first, then an update for each probe.

    tailrace run s2_site --stream
    tailrace run s2_site --input '{"site": "http://127.0.0.1:8787/healthz", "updates": 3}'

The default target is the Tailrace server itself: run `tailrace serve s2_site` beside it, or see
an honest "down".
"""

import time
from collections.abc import AsyncIterator
from typing import Annotated, Literal

import anyio
import httpx
from pydantic import BaseModel, Field

from tailrace import flow, node

PROBE_TIMEOUT_S = 5.0


class Snapshot(BaseModel):
    """What one probe of a site found."""

    site: str
    status: Literal["up", "down"]
    http_status: int | None = None
    latency_ms: float
    error: str | None = None


class SiteEvent(BaseModel):
    """The snapshot, or what a later probe found."""

    stage: str
    changed: bool
    snapshot: Snapshot


async def measure(site: str) -> Snapshot:
    """Ask the site once; a site that does not answer is a finding, not an error."""
    began = time.perf_counter()
    try:
        async with httpx.AsyncClient(timeout=PROBE_TIMEOUT_S) as client:
            response = await client.get(site)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        latency = (time.perf_counter() - began) * 1000
        return Snapshot(
            site=site, status="down", latency_ms=round(latency, 1), error=type(error).__name__
        )
    return Snapshot(
        site=site,
        status="up" if response.status_code < 500 else "down",
        http_status=response.status_code,
        latency_ms=round((time.perf_counter() - began) * 1000, 1),
    )


@node(effects="read_only", determinism="nondeterministic", resources=("resource::http",))
async def probe(site: str) -> Snapshot:
    """Take the first snapshot."""
    return await measure(site)


@node(
    effects="read_only",
    determinism="nondeterministic",
    resources=("resource::http", "resource::sse"),
)
async def watch(first: Snapshot, updates: int, every_ms: int) -> AsyncIterator[SiteEvent]:
    """Give the snapshot, then what each further probe finds."""
    yield SiteEvent(stage="snapshot", changed=False, snapshot=first)
    before = first
    for number in range(updates):
        await anyio.sleep(every_ms / 1000)
        now = await measure(first.site)
        yield SiteEvent(stage=f"update_{number}", changed=now.status != before.status, snapshot=now)
        before = now


@flow(name="s2_site", http="POST /site/stream", deadline_ms=600_000)
def site_status(
    site: str = "http://127.0.0.1:8787/healthz",
    updates: Annotated[int, Field(ge=0, le=10_000)] = 5,
    every_ms: Annotated[int, Field(ge=10, le=60_000)] = 300,
) -> object:
    """Watch a site: a snapshot, then updates."""
    return watch(probe(site), updates, every_ms)
