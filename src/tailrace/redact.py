"""Secrets out of texts and values, before they reach a log. Pure: no I/O, no await.

The law of this file: what may hold a secret goes through here before it is written, and what comes
out of a text is the same whether it came whole or in pieces.

    Redactor.text, .value       whole texts, JSON-like values
    Redactor.clean_bytes        "certainly nothing here", for an encoded event, in a microsecond
    Redactor.stream             a TextStream, for one text that comes in pieces (redact_stream.py)

What a secret looks like is in redact_rules.py and redact_secrets.py; how it is found, in
redact_scanner.py and redact_literals.py.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from tailrace.redact_literals import plain
from tailrace.redact_rules import HOLD_MAX, KEYS, MARK, NO_SECRETS, RULES, Rule
from tailrace.redact_secrets import Known
from tailrace.redact_stream import Hook, TextStream

__all__ = ["KEYS", "RULES", "Redactor", "Rule"]  # docs/redaction.md: rules and keys of one's own

_KEY = "key"
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+|[^-_. \[\]\t]")


class Redactor:
    """Replaces secrets: what `rules` match, what stands under `keys`, and `secrets` themselves.

    `hooks` are functions of your own from text to text. They get each line of a text, without its
    line break and after the rules; one that raises, or returns no text, costs the whole line. A
    line longer than HOLD_MAX comes in parts. From any thread. Raises InvalidSetting for a pattern
    that is none or looks ahead, and for a secret shorter than SECRET_MIN characters.
    """

    def __init__(
        self,
        *,
        rules: Iterable[Rule] = RULES,
        keys: Iterable[str] = KEYS,
        secrets: Iterable[str] = (),
        hooks: Iterable[Hook] = (),
    ) -> None:
        self._names = frozenset(filter(None, (plain(key) for key in keys)))
        self._hooks = tuple(hooks)
        self._sensitive = lru_cache(maxsize=4096)(self._is_sensitive)
        self._known = Known(rules, self._names, secrets)

    def add_secret(self, secret: str) -> None:
        """Replace this text too, from now on: as it is, and as JSON, URLs and base64 write it.

        A stream that is under way looks for it in what it has not passed on. Raises
        InvalidSetting if it is shorter than SECRET_MIN characters: it would tear holes into
        every text.
        """
        self._known.add(secret)

    def text(self, text: str) -> str:
        """Redact a whole text: a line of a log, the message of an error."""
        if not self._hooks and self._known.now.clean_text(text):
            return text
        stream = self.stream()
        redacted = stream.feed(text) + stream.end() if len(text) > HOLD_MAX else stream.end(text)
        return text if redacted == text else redacted

    def value(self, value: Any) -> Any:
        """Redact a JSON-like value: all its texts, and whole what stands under a sensitive key.

        Returns the same object if there was nothing. Keys are kept. Under a sensitive key null,
        booleans and what is empty stay. What is no JSON (a model, bytes) is left as it is.
        """
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            items = {key: self._item(key, item) for key, item in value.items()}
            return items if any(items[key] is not item for key, item in value.items()) else value
        if isinstance(value, list | tuple):
            parts = [self.value(part) for part in value]
            if all(new is old for new, old in zip(parts, value, strict=True)):
                return value
            return parts if isinstance(value, list) else tuple(parts)
        return value

    def clean_bytes(self, encoded: bytes) -> bool:
        """Whether there is certainly nothing to redact in compact JSON, non-ASCII not escaped.

        False says nothing: then `value` decides.
        """
        return not self._hooks and self._known.now.clean(encoded)

    def stream(self) -> TextStream:
        """Make one for a text that comes in pieces."""
        return TextStream(self._known, self._hooks)

    def _item(self, key: object, item: Any) -> Any:
        if not (isinstance(key, str) and self._sensitive(key)):
            return self.value(item)
        mark = MARK.format(name=_KEY)
        kept = item is None or isinstance(item, bool) or item in ("", [], {}, (), mark)
        return item if kept else mark

    def _is_sensitive(self, key: str) -> bool:
        words = _WORD.findall(key)
        whole = plain("".join(words))
        if whole in self._names:
            return True
        ends = (plain("".join(words[first:])) for first in range(1, len(words)))
        return not whole.endswith(NO_SECRETS) and any(end in self._names for end in ends)
