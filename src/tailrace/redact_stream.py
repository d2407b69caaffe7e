"""Secrets out of one text that comes in pieces.

The law of this file: what a text becomes does not depend on how it was cut into pieces. All that
any rule calls secret is replaced; what overlaps becomes one mark, which names the rule that began
first.
"""

import re
from collections.abc import Callable

from tailrace.redact_rules import CONTEXT, HOLD_MAX, MARK
from tailrace.redact_scanner import Snapshot, Span
from tailrace.redact_secrets import Known

Hook = Callable[[str], str]

_HOOKED = re.compile(rf"[^\n]{{{HOLD_MAX}}}|[^\n]{{0,{HOLD_MAX - 1}}}\n")


class TextStream:
    """One text that comes in pieces; what comes out is what `Redactor.text` makes of the whole.

    Of what was fed, at most HOLD_MAX characters are held, from where a secret may have begun.
    What could still be a secret after so many is taken for one and replaced by a mark named
    `open`, here and in whole texts: better too much than a secret. The default rules end before.

    With hooks lines are held until they end, and as many characters again: a hook must not see
    half a line. A search that takes too long (TIMEOUT_S) ends the text: all that was not passed
    on, and what comes after it, is replaced by one mark named `timeout`.
    """

    def __init__(self, known: Known, hooks: tuple[Hook, ...]) -> None:
        self._known, self._hooks = known, hooks
        self._text = ""  # CONTEXT of what was passed on, and all that was not
        self._at = 0  # so far it is decided, and passed on
        self._hidden = 0  # so far it is covered by a mark that was written
        self._found: list[Span] = []  # decided, but beginning later
        self._line = ""  # for the hooks
        self._dead = False

    def feed(self, piece: str) -> str:
        """Take the next piece, and return what may be passed on now."""
        if self._dead:
            return ""
        self._text += piece
        try:
            passed = self._advance(self._known.now)
        except TimeoutError:
            passed = self._die()
        return self._lines(passed)

    def end(self, piece: str = "") -> str:
        """Nothing more comes, after this piece: return the rest."""
        self._text += piece
        passed = ""
        if not self._dead:
            now, end = self._known.now, len(self._text)
            awake = now.awake(self._text)
            try:
                passed = self._pass(now.spans(awake, self._text, self._at, end, end), end)
            except TimeoutError:
                passed = self._die()
        rest, self._text, self._at, self._hidden = self._lines(passed), "", 0, 0
        last, self._line = self._line, ""
        return rest + self._hooked(last)

    def _advance(self, now: Snapshot) -> str:
        """Decide what can be decided: up to where a rule may match with what comes."""
        passed = []
        while True:
            start = self._at
            limit = min(len(self._text), start + HOLD_MAX)
            awake = now.awake(self._text[max(0, start - CONTEXT) : limit])
            undecided = now.undecided(awake, self._text, start, limit)
            if undecided > start:
                spans = now.spans(awake, self._text, start, limit, undecided)
                passed.append(self._pass(spans, undecided))
            elif limit < len(self._text):
                passed.append(self._pass([Span(start, -1, limit, "open")], limit))
            if self._at == start or self._at == len(self._text):
                break
        self._forget()
        return "".join(passed)

    def _pass(self, spans: list[Span], end: int) -> str:
        """Pass on up to `end`, with a mark in place of each secret that begins before it."""
        out: list[str] = []
        self._found = sorted((*self._found, *spans))
        while self._found and self._found[0].start < end:
            span = self._found.pop(0)
            if span.start >= self._hidden:
                out += (
                    self._text[max(self._at, self._hidden) : span.start],
                    MARK.format(name=span.name),
                )
            self._hidden = max(self._hidden, span.end)
        out.append(self._text[max(self._at, self._hidden) : end])
        self._at = end
        return "".join(out)

    def _forget(self) -> None:
        """Drop what no rule looks behind at."""
        cut = self._at - CONTEXT
        if cut > 0:
            self._text = self._text[cut:]
            self._at, self._hidden = CONTEXT, max(0, self._hidden - cut)
            self._found = [
                Span(span.start - cut, span.order, span.end - cut, span.name)
                for span in self._found
            ]

    def _die(self) -> str:
        self._dead, self._text = True, ""
        return MARK.format(name="timeout")

    def _lines(self, passed: str) -> str:
        if not self._hooks:
            return passed
        self._line += passed
        out, end = [], 0
        for match in _HOOKED.finditer(self._line):
            line, end = match[0], match.end()
            broken = line.endswith("\n")
            out.append(self._hooked(line[:-1] if broken else line) + "\n" * broken)
        self._line = self._line[end:]
        return "".join(out)

    def _hooked(self, line: str) -> str:
        if not line:
            return line
        for hook in self._hooks:
            try:
                line = hook(line)
            except Exception:  # noqa: BLE001 - foreign code; what it should have hidden must not pass
                return MARK.format(name="hook")
            if not isinstance(line, str):
                return MARK.format(name="hook")
        return line
