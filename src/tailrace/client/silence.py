"""What probes say about silence: whether a connection outlives it, with heartbeats and without.

The law of this file: as `verdicts`, whose findings these are. Where the stream ended for another
reason than silence, nothing is said of silence.
"""

from tailrace import sse
from tailrace.client.observations import Seen
from tailrace.client.verdicts import Finding

HEARTBEAT = sse.comment("heartbeat")
_AGAIN = "Mend what was found above, then run it again."


def idle(with_heartbeats: Seen, without: Seen, seconds: float, heartbeat_s: float) -> list[Finding]:
    """Whether silence gets a connection cut: with the heartbeats of a real stream, and without.

    `heartbeat_s`: how often this server's streams fill silence.
    """
    return [
        _kept_awake(with_heartbeats, seconds, heartbeat_s),
        _bare(without, seconds, heartbeat_s),
    ]


def _survived(seen: Seen) -> bool:
    return seen.end is not None and seen.end.get("reason") == "done"


def _unmeasured(seen: Seen) -> str | None:
    """Why nothing can be said about silence, if nothing can."""
    if not seen.frames:
        return f"Not measured, for the stream did not begin: {seen.error or seen.status}"
    return None if seen.end is None else f"Not measured: {seen.how_it_broke()}"


def _cut(seen: Seen) -> str:
    return f"Cut after {(seen.ended_ms - seen.last_ms) / 1000:.1f} s of silence"


def _kept_awake(seen: Seen, seconds: float, heartbeat_s: float) -> Finding:
    code = "idle"
    if not _survived(seen):
        if why := _unmeasured(seen):
            return Finding(code, "problem", why, _AGAIN)
        advice = (
            f"This server's streams are silent for up to {heartbeat_s:g} s. nginx: "
            "`proxy_read_timeout 1h;`. A load balancer: its idle timeout. Else let the server speak more often: `tailrace serve --heartbeat-s 5`."
        )
        return Finding(code, "problem", f"{_cut(seen)}, with heartbeats", advice)
    sent = int((seen.end or {}).get("heartbeats", 0))
    came = seen.body.count(HEARTBEAT)
    said = f"{seconds:g} s without events passed; {came} of {sent} heartbeats came"
    if came < sent:
        advice = "Something removes comments: ask for events instead, with `?heartbeat=event`."
        return Finding(code, "note", said, advice)
    return Finding(code, "ok", said)


def _bare(seen: Seen, seconds: float, heartbeat_s: float) -> Finding:
    code = "idle_without_heartbeats"
    if _survived(seen):
        return Finding(code, "ok", f"{seconds:g} s of complete silence passed")
    if why := _unmeasured(seen):
        return Finding(code, "note", why, _AGAIN)
    advice = (
        f"Heartbeats are what keeps streams alive here: keep them on, and more frequent than that "
        f"(this server's: every {heartbeat_s:g} s)."
    )
    return Finding(code, "note", f"{_cut(seen)}, without heartbeats", advice)
