"""Who speaks inside a run, and how what is said becomes events: text in pieces, output in steps.

The law of this file: joined, the pieces of a text are the text, whichever way it was cut, and a
piece is passed on at once unless its end may belong to what comes: half an emoji, a CR before
its LF, the beginning of a secret. Whoever ends a voice says what was held.
"""

from codecs import getincrementaldecoder
from typing import Any

from pydantic_core import to_jsonable_python

from tailrace import events, patch
from tailrace.lines import wellformed
from tailrace.recorder import Recorder
from tailrace.redact import Redactor

PIECE_MAX_CHARS = 65_536  # a longer piece is several: an event has a limit, a text has none


class Pieces:
    """A text that comes in pieces, as it may be passed on. Bound: a character, and a secret."""

    def __init__(self, redactor: Redactor) -> None:
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._clean = redactor.stream()
        self._half = ""  # of a surrogate pair
        self._cr = ""

    def feed(self, piece: str | bytes) -> str:
        """Take a piece; returns what may be passed on."""
        text = self._half + (piece if isinstance(piece, str) else self._decoder.decode(piece))
        self._half = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        return self._ready(self._clean.feed(wellformed(text[: len(text) - len(self._half)])))

    def end(self) -> str:
        """Nothing more comes: the rest."""
        rest = wellformed(self._half) + self._decoder.decode(b"", final=True)
        self._half = ""
        text = self._cr + self._clean.feed(rest) + self._clean.end()
        self._cr = ""
        return text

    def _ready(self, text: str) -> str:
        # A stream of text/event-stream cannot carry a CR: split from its LF it would be a second
        # line break there.
        text = self._cr + text
        self._cr = "\r" if text.endswith("\r") else ""
        return text.removesuffix("\r")


class Voice:
    """Who speaks: an execution, or one node of it. `end` it."""

    def __init__(
        self, recorder: Recorder, node: str | None = None, attempt: int | None = None
    ) -> None:
        self.recorder, self.node, self.attempt = recorder, node, attempt or recorder.attempt
        self._redactor = recorder.intake.redactor
        self.text_length = 0
        self.tool_calls = 0
        self._pieces: Pieces | None = None
        self._output: Any = None  # as the patches so far make it
        self._newest: Any = None  # as it was last said
        self._structured = False

    def say(self, payload: events.Payload) -> None:
        """Hand a payload in."""
        self.recorder.post(payload, node=self.node, attempt=self.attempt)

    def custom(self, name: str, data: dict[str, Any]) -> None:
        """Hand in an event of the user's own."""
        self.recorder.post_custom(name, data, node=self.node, attempt=self.attempt)

    def text(self, piece: str | bytes) -> None:
        """Say a piece of text."""
        if self._pieces is None:
            self._pieces = Pieces(self._redactor)
        self._pass(self._pieces.feed(piece))

    def _pass(self, text: str) -> None:
        for start in range(0, len(text), PIECE_MAX_CHARS):
            piece = text[start : start + PIECE_MAX_CHARS]
            self.say(events.LlmChunk(text=piece, offset=self.text_length))
            self.text_length += len(piece)

    def structured(self, value: Any) -> None:
        """Say how an output under construction looks by now."""
        self._newest, self._structured = to_jsonable_python(value, inf_nan_mode="null"), True
        self._tell(self._unfinished(self._redactor.value(self._newest)), settled=False)

    def _unfinished(self, value: Any) -> Any:
        """Hold back what may be the beginning of a secret: the texts in it may still grow."""
        if isinstance(value, dict):
            return {key: self._unfinished(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._unfinished(item) for item in value]
        return self._redactor.stream().feed(value) if isinstance(value, str) else value

    def _tell(self, value: Any, *, settled: bool) -> None:
        steps = patch.diff(self._output, value, settled=settled)
        if steps:
            self.say(events.StructuredDelta(patch=steps))
            self._output = patch.apply(self._output, steps)

    def settle(self, output: Any) -> Any:
        """Say the last step of an output that was said in steps, and return that output.

        It is what came out in the end or, where nothing did, what was said last.
        """
        if self._structured and output is not None:
            self._newest = to_jsonable_python(output, inf_nan_mode="null")
        return self._newest if self._structured else output

    def end(self) -> None:
        """Say what was held."""
        if self._pieces is not None:
            self._pass(self._pieces.end())
            self._pieces = None
        if self._structured:
            self._tell(self._redactor.value(self._newest), settled=True)
