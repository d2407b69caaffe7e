"""The way of every event into a log: redacted, and what is large in it put aside.

The law of this file: nothing reaches a log but through here, so nothing secret is in one, and an
event stays small enough for every watcher's write. What is put aside is kept with the log, once,
by its digest; the event has its summary (`output` → `output_summary`). Pure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

from tailrace.errors import PayloadTooLarge
from tailrace.events import CUSTOM, Draft, OutputSummary
from tailrace.log.rules import EVENT_MAX_BYTES
from tailrace.redact import Redactor

INLINE_MAX_BYTES = 65_536  # of one event; above it, its values are put aside
PAYLOAD_MAX_BYTES = 67_108_864  # of one value: it is held in memory while it is written
PREVIEW_CHARS = 200
KEYS_MAX = 50
_VALUES = ("input", "output", "value")
_AT_WORST = ("graph",)  # who watches wants it at once: only where no event could hold it


class Intake:
    """Prepares drafts for a log; `event_max_bytes` of one, `events_max` of one execution (0: any)."""

    def __init__(
        self,
        redactor: Redactor | None = None,
        *,
        event_max_bytes: int = EVENT_MAX_BYTES,
        events_max: int = 0,
    ) -> None:
        self.redactor = redactor or Redactor()
        self.event_max_bytes, self.events_max = event_max_bytes, events_max

    def prepare(self, execution_id: str, made: Draft) -> Draft:
        """Return the draft as the log may have it, encoded.

        Raises InvalidEvent if it cannot be JSON, PayloadTooLarge if no log takes it.
        """
        encoded = made.encode(execution_id)
        if made.data and not self.redactor.clean_bytes(encoded):
            data = self.redactor.value(to_jsonable_python(made.data, inf_nan_mode="null"))
            made = replace(made, data=data, encoded=None)
            encoded = made.encode(execution_id)
        if len(encoded) > INLINE_MAX_BYTES:
            made = _put_aside(made, made.data if made.type.startswith(CUSTOM) else _VALUES)
            encoded = made.encode(execution_id)
        if len(encoded) > self.event_max_bytes:
            made = _put_aside(made, _AT_WORST)
            encoded = made.encode(execution_id)
        if len(encoded) > self.event_max_bytes:
            raise PayloadTooLarge(
                f"{made.type} is {len(encoded)} bytes; an event holds at most {self.event_max_bytes}",
                hint="Store large data elsewhere and put a reference to it in the event.",
            )
        made.encoded = encoded
        return made

    def summary(self, value: Any) -> tuple[OutputSummary, Mapping[str, bytes]]:
        """What an output looks like, and what to put aside where that does not show all of it."""
        try:
            text = to_json(value, inf_nan_mode="null")
        except (PydanticSerializationError, ValueError, RecursionError):
            # Between nodes any object may pass; of one that is no JSON the name is told.
            told = _told(value, _opaque_json(value))[0]
            return told.model_copy(update={"digest": None, "altered": True}), {}
        if self.redactor.clean_bytes(text):
            return _told(value, text)
        plain = to_jsonable_python(value, inf_nan_mode="null")
        value = self.redactor.value(plain)
        told, aside = _told(value, to_json(value, inf_nan_mode="null"))
        return told if value == plain else told.model_copy(update={"altered": True}), aside


def _put_aside(made: Draft, names: Iterable[str]) -> Draft:
    data, aside = dict(made.data), dict(made.aside or {})
    for name in names:
        text = to_json(data.get(name), inf_nan_mode="null")
        if len(text) > INLINE_MAX_BYTES // 4:
            told, kept = _told(data[name], text)
            data |= {name: None, f"{name}_summary": told.model_dump()}
            aside |= kept
    return replace(made, data=data, aside=aside, encoded=None)


def _told(value: Any, text: bytes) -> tuple[OutputSummary, dict[str, bytes]]:
    keys = [str(key) for key in value] if isinstance(value, dict) else []
    if fields := getattr(type(value), "model_fields", None):
        keys = list(fields)
    preview = text[: PREVIEW_CHARS * 4].decode(errors="ignore")[:PREVIEW_CHARS]
    told = {"keys": keys[:KEYS_MAX], "size_bytes": len(text), "preview": preview}
    if preview.encode() == text or len(text) > PAYLOAD_MAX_BYTES:
        return OutputSummary(**told), {}
    digest = sha256(text).hexdigest()
    return OutputSummary(**told, digest=digest), {digest: text}


def _opaque_json(value: Any) -> bytes:
    try:
        return to_json(value, inf_nan_mode="null", fallback=_opaque)
    except (PydanticSerializationError, ValueError, RecursionError):
        return to_json(_opaque(value))


def _opaque(value: Any) -> str:
    return f"<{type(value).__name__}>"
