"""Whether any of many literals is in a text, in a microsecond.

The law of this file: it may find too much, never too little; who gets a "no" looks no further.
"""

import json
import re
from collections.abc import Iterable
from itertools import groupby

_IGNORED = b"-_. []\t"
_LOWER = bytes(range(256)).lower()
# From rare to common in events: a search is as fast as the first character it looks for is rare.
_RARE = "~^`|@<>$%*!?;JZQXKVYWUjzqxkwGHPMBIORFvbLSTENCDA=+/fg&()'hypmulcrandisote_-.\\ {}[]9876543210,:\""


def fold(text: bytes) -> bytes:
    """Names as they are compared: `X-Api-Key`, `api_key` and `apiKey` end alike."""
    return text.translate(_LOWER, _IGNORED)


def plain(name: str) -> str:
    """The same, of a text."""
    return fold(utf8(name)).decode(errors="surrogatepass")


def utf8(text: str) -> bytes:
    """Encode whatever a `str` may hold: halves of surrogate pairs, too."""
    return text.encode(errors="surrogatepass")


def escaped(text: str) -> bytes:
    """Encode a text as it stands inside of JSON, without the quotes."""
    return utf8(json.dumps(text, ensure_ascii=False)[1:-1])


def search(literals: Iterable[bytes]) -> re.Pattern[bytes]:
    """Make a search for any of them, each by its rarest character: that is where `re` is fast."""
    shortest: list[bytes] = []
    for literal in sorted(set(literals), key=len):
        if not any(short in literal for short in shortest):
            shortest.append(literal)
    return re.compile(_either(sorted(map(_from_rarest, shortest))) if shortest else b"(?!)")


def _from_rarest(literal: bytes) -> tuple[bytes, bytes]:
    first = min(range(len(literal)), key=lambda at: _RARE.find(chr(literal[at])))
    return literal[first:], b"(?<=%b)" % re.escape(literal) if first else b""


def _either(endings: list[tuple[bytes, bytes]]) -> bytes:
    """Write a pattern for what is left of some literals, each with what must hold at its end.

    A tree, because `re` tries alternatives one by one.
    """
    parts: list[bytes] = []
    for byte, group in groupby(endings, key=lambda ending: ending[0][:1]):
        rest = [(ending[1:], condition) for ending, condition in group]
        if byte:
            parts.append(re.escape(byte) + _either(rest))
        else:
            parts += [condition for _, condition in rest]
    return parts[0] if len(parts) == 1 else b"(?:%b)" % b"|".join(parts)
