"""Secrets out of texts and values, before they reach a log. Pure: no I/O, no await.

The law of this file: what a text becomes does not depend on how it was cut into pieces. Each
position of a text is decided alone: a rule matches there or not, whatever was found before it.
So a stream may pass on all that comes before the first position that a rule could still match
from, and nothing else; that position is found by `regex`'s partial matching, which is why this
file does not use `re` for rules. All that any rule calls secret is replaced; what overlaps
becomes one mark, which names the rule that began first.

    Redactor.text, .value       whole texts, JSON-like values
    Redactor.clean_bytes        "certainly nothing here", for an encoded event, in a microsecond
    Redactor.stream             a TextStream, for one text that comes in pieces
"""

import base64
import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any
from urllib.parse import quote, quote_plus

import regex

from tailrace.errors import InvalidSetting

MARK = "[redacted:{name}]"  # what replaces a secret; names the rule
HOLD_MAX = 16_384  # characters of a stream that wait for what follows them
CONTEXT = 256  # characters already passed on that a rule may look behind at
SECRET_MIN = 4  # shorter, and it would tear holes into every text
TIMEOUT_S = 0.25  # of processor time for one search; the default rules need a thousandth of it

Hook = Callable[[str], str]


@dataclass(frozen=True)
class Rule:
    r"""What a secret looks like.

    `pattern` is a regular expression of the `regex` package; the whole match is replaced, or its
    group `secret` if it has one. It may look behind, at most CONTEXT characters, but not ahead:
    in a stream what follows has not come yet. So `(?=`, `(?!`, `$`, `\Z`, `\z`, `\B`, `\G` and
    `\K` are refused; `\b` may be used. To ask for what follows a secret, match it, and name the
    secret by the group. Where it looks behind, put no repeated character right behind a word
    (`(?<=name *=)`; write `(?<=name(?: {2}| |)=)`): there `regex` sees beginnings that are none,
    and streams wait for nothing.

    `needs` are literals: every match begins with one of them, or has one before it in what the
    pattern looks behind at. They make a rule cheap where there is nothing: without any it is tried
    at every character, and no event is `clean_bytes`. They are compared as they are; for a pattern
    that ignores case, without case, spaces and `- _ . [ ]`.
    """

    name: str
    pattern: str
    needs: tuple[str, ...] = ()


# Looking behind, no repeated character stands right behind a word (`name *=`, `://[^:]*`), but a
# group or a repeated character does: `regex` takes what is no match there for a partial one, and
# a stream would wait for what never comes. The tests find such a rule: its hold outlives a line.
# A name is followed by these, in the forms of code, YAML, JSON and JSON inside of JSON.
_OPEN = r"(?:[\"']|\\[\"']|\\\\\\[\"'])?"
_GAP = r"(?:[ \t](?:[ \t][ \t]?)?)?"
_IS = rf"{_OPEN}{_GAP}[=:]{_GAP}"
_EQUALS = rf"{_OPEN}{_GAP}={_GAP}"
_AT = r"(?<=[=:\"' \t])"  # a value's place, asked first: looking behind at a name costs more
_QUOTED = (
    r"\"(?P<secret>(?:[^\"\\\r\n]|\\.){1,1024})\"|'(?P<secret>(?:[^'\\\r\n]|\\.){1,1024})'"
    r"|\\{1,3}\"(?P<secret>[^\"\r\n]{1,1024}?)\\{1,3}\""
)
_PLAIN = r"(?:[^\s\"'\\,;&]|\\[^\s\"'\\]|\\\\)"
_VALUE = rf"{_PLAIN}{{1,4096}}(?:,{_PLAIN}{{1,1024}}){{0,64}}"
_UNWORDY = rf"[A-Za-z]{{0,64}}[^\sA-Za-z\"'\\.,;:&!?()\[\]{{}}]{_VALUE}"
_STRONG = (
    r"(?:passw(?:or)?ds?|passphrase|(?:api|access|private|secret)(?:-|_|)key|client(?:-|_|)secret"
    r"|(?:access|refresh|auth|bearer|session)(?:-|_|)token)"
)
_WEAK = r"(?:secret|session|(?<!(?:page|next|sync|continuation)(?:-|_|))token)"
_NAMES = "password passwords passwd passwds passphrase apikey accesskey privatekey secretkey"
_ENDS = ("=", ":", '"', "'", "\\")
_B64_LINE = r"[A-Za-z0-9+/]{40,4096}+={0,2}+"
_BREAK = r"(?:\s|\\[rn]){1,20}+"

RULES: tuple[Rule, ...] = (
    Rule(
        "private-key",
        r"(?a)-----BEGIN (?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?-----"
        rf"(?:(?:{_BREAK}(?:[A-Za-z-]{{1,20}}:[^\r\n\\]{{0,200}}+|{_B64_LINE})){{1,400}}+"
        rf"(?:{_BREAK}[A-Za-z0-9+/=]{{1,80}}+){{0,2}}+)?+"
        rf"(?:(?:{_BREAK})?+-----END [A-Z0-9 ]{{1,60}}-----)?",
        ("-----BEGIN ",),
    ),
    Rule(
        "jwt",
        r"(?a)(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,4096}\.eyJ[A-Za-z0-9_-]{8,8192}\."
        r"[A-Za-z0-9_-]{0,2048}",
        ("eyJ",),
    ),
    Rule("aws-key-id", r"(?a)\b(?:AKIA|ASIA)[A-Z0-9]{16}\b", ("AKIA", "ASIA")),
    Rule(
        "aws-secret",
        rf"(?ai){_AT}(?<=secret(?:-|_|)(?:access(?:-|_|))?key{_IS}{_OPEN})[a-z0-9/+]{{40}}",
        tuple(f"{name}{end}" for name in ("secretkey", "accesskey") for end in _ENDS),
    ),
    Rule(
        "github",
        r"(?a)(?<![A-Za-z0-9])(?:gh[pousr]_[A-Za-z0-9]{30,255}|github_pat_[A-Za-z0-9_]{22,255})",
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
    ),
    Rule(
        "slack",
        r"(?a)(?<![A-Za-z0-9])(?:xox[a-z](?:\.xox[a-z])?|xapp)-[A-Za-z0-9-]{10,255}",
        ("xox", "xapp-"),
    ),
    Rule(
        "api-key",
        r"(?a)(?<![A-Za-z0-9_-])(?:[spr]k_(?:live|test)_[A-Za-z0-9]{10,255}"
        # A digit: there are words with hyphens that begin so (`sk-learn-…`), keys have digits.
        r"|[spr]k-[A-Za-z0-9_-]{16,512}(?<=[0-9][A-Za-z_-]{0,500}))",
        tuple(f"{kind}k{part}" for kind in "spr" for part in ("-", "_live_", "_test_")),
    ),
    Rule("google", r"(?a)(?<![A-Za-z0-9])AIza[A-Za-z0-9_-]{30,60}", ("AIza",)),
    Rule(
        "url-password",
        r"(?ai)(?<=\b[a-z][a-z0-9+.-]{1,31}:/{2}[^\s/:@\"'<>]{0,128}:)"
        r"(?P<secret>[^\s/\"'<>]{1,512})@",
        ("://",),
    ),
    Rule(
        "authorization",
        rf"(?ai){_AT}(?<=authorization{_IS}{_OPEN})"
        rf"(?:(?:basic|bearer|digest|negotiate|token|api-?key) {{1,3}}{_VALUE}|{_UNWORDY})",
        tuple(f"authorization{end}" for end in _ENDS),
    ),
    Rule(
        "bearer",
        r"(?ai)(?<=\bbearer )(?:[a-z]{0,200}[0-9._~+/=-][a-z0-9._~+/=-]{2,8192}|[a-z]{20,200})",
        ("bearer",),
    ),
    Rule(
        "cookie",
        rf"(?ai)(?<=\b(?:set-)?cookie{_OPEN}{_GAP}:{_GAP}{_OPEN})"
        r"[^\s=;\"'\\]{1,256}=[^\r\n\"'\\]{0,4096}",
        tuple(f"cookie{end}" for end in _ENDS),
    ),
    Rule(
        "password",
        rf"(?ai){_AT}(?:(?<={_STRONG}{_IS})(?:{_QUOTED})|(?<={_STRONG}{_IS}{_OPEN}){_VALUE})",
        tuple(
            f"{name}{end}" for name in (*_NAMES.split(), "clientsecret", "token") for end in _ENDS
        ),
    ),
    Rule(
        # Names that are words too: after a colon, only what is quoted, or is no word itself.
        "assignment",
        rf"(?ai){_AT}(?:(?<={_WEAK}{_IS})(?:{_QUOTED})|(?<={_WEAK}{_EQUALS}{_OPEN}){_VALUE}"
        rf"|(?<={_WEAK}{_IS}{_OPEN}){_UNWORDY})",
        tuple(f"{name}{end}" for name in ("secret", "session", "token") for end in _ENDS),
    ),
)

KEYS: tuple[str, ...] = (
    *("password", "passwords", "passwd", "passphrase", "secret", "secrets", "token", "api_key"),
    *("access_key", "private_key", "secret_key", "signing_key", "encryption_key", "apikey"),
    *("authorization", "proxy_authorization", "cookie", "cookies", "set_cookie", "credential"),
    *("credentials", "client_secret", "access_token", "refresh_token", "session", "session_key"),
)
# A cursor is no secret, nor is a tokenizer's mark; both are named like one.
_NO_SECRETS = (
    *("pagetoken", "nexttoken", "synctoken", "continuationtoken"),
    *("bostoken", "eostoken", "padtoken", "unktoken", "septoken", "clstoken", "masktoken"),
)
_KEY = "key"
_BASE64_MIN = 8  # of what base64 makes of a secret; less is found by chance
_URLSAFE = str.maketrans("+/", "-_")

_IGNORED = b"-_. []\t"
_LOWER = bytes(range(256)).lower()
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+|[^-_. \[\]\t]")
_AHEAD = re.compile(
    r"\\[^ZzBGK]|\[\^?\]?(?:\\.|[^\]\\])*\]|(?P<ahead>\(\?[=!]|\$|\\[ZzBGK])", re.DOTALL
)
_FLAGS = re.compile(r"\(\?([a-z]+)\)")
_HOOKED = re.compile(rf"[^\n]{{{HOLD_MAX}}}|[^\n]{{0,{HOLD_MAX - 1}}}\n")
# From rare to common in events: a search is as fast as the first character it looks for is rare.
_RARE = "~^`|@<>$%*!?;JZQXKVYWUjzqxkwGHPMBIORFvbLSTENCDA=+/fg&()'hypmulcrandisote_-.\\ {}[]9876543210,:\""


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
        self._rules = tuple(_compiled(rule) for rule in rules)
        self._names = frozenset(filter(None, (_plain(key) for key in keys)))
        self._hooks = tuple(hooks)
        self._forms: set[str] = set()
        self._lock = threading.Lock()
        self._sensitive = lru_cache(maxsize=4096)(self._is_sensitive)
        for secret in secrets:
            self._forms |= _forms(secret)
        self._now = self._snapshot()

    def add_secret(self, secret: str) -> None:
        """Replace this text too, from now on: as it is, and as JSON, URLs and base64 write it.

        A stream that is under way looks for it in what it has not passed on. Raises
        InvalidSetting if it is shorter than SECRET_MIN characters: it would tear holes into
        every text.
        """
        forms = _forms(secret)
        with self._lock:
            self._forms |= forms
            self._now = self._snapshot()

    def text(self, text: str) -> str:
        """Redact a whole text: a line of a log, the message of an error."""
        if not self._hooks and self._now.clean_text(text):
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
        return not self._hooks and self._now.clean(encoded)

    def stream(self) -> "TextStream":
        """Make one for a text that comes in pieces."""
        return TextStream(self)

    def _item(self, key: object, item: Any) -> Any:
        if not (isinstance(key, str) and self._sensitive(key)):
            return self.value(item)
        mark = MARK.format(name=_KEY)
        kept = item is None or isinstance(item, bool) or item in ("", [], {}, (), mark)
        return item if kept else mark

    def _is_sensitive(self, key: str) -> bool:
        words = _WORD.findall(key)
        whole = _plain("".join(words))
        if whole in self._names:
            return True
        ends = (_plain("".join(words[first:])) for first in range(1, len(words)))
        return not whole.endswith(_NO_SECRETS) and any(end in self._names for end in ends)

    def _snapshot(self) -> "_Snapshot":
        if not self._forms:
            return _snapshot_of(self._rules, self._names)
        longest_first = sorted(self._forms, key=lambda form: (-len(form), form))
        pattern = "(?a)" + "|".join(map(regex.escape, longest_first))
        secrets = _compile(Rule("secret", pattern, tuple(longest_first)))
        return _Snapshot((secrets, *self._rules), self._names)

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


class TextStream:
    """One text that comes in pieces; what comes out is what `Redactor.text` makes of the whole.

    Of what was fed, at most HOLD_MAX characters are held, from where a secret may have begun.
    What could still be a secret after so many is taken for one and replaced by a mark named
    `open`, here and in whole texts: better too much than a secret. The default rules end before.

    With hooks lines are held until they end, and as many characters again: a hook must not see
    half a line. A search that takes too long (TIMEOUT_S) ends the text: all that was not passed
    on, and what comes after it, is replaced by one mark named `timeout`.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._text = ""  # CONTEXT of what was passed on, and all that was not
        self._at = 0  # so far it is decided, and passed on
        self._hidden = 0  # so far it is covered by a mark that was written
        self._found: list[_Span] = []  # decided, but beginning later
        self._line = ""  # for the hooks
        self._dead = False

    def feed(self, piece: str) -> str:
        """Take the next piece, and return what may be passed on now."""
        if self._dead:
            return ""
        self._text += piece
        try:
            passed = self._advance(self._redactor._now)
        except TimeoutError:
            passed = self._die()
        return self._lines(passed)

    def end(self, piece: str = "") -> str:
        """Nothing more comes, after this piece: return the rest."""
        self._text += piece
        passed = ""
        if not self._dead:
            now, end = self._redactor._now, len(self._text)
            awake = now.awake(self._text)
            try:
                passed = self._pass(now.spans(awake, self._text, self._at, end, end), end)
            except TimeoutError:
                passed = self._die()
        rest, self._text, self._at, self._hidden = self._lines(passed), "", 0, 0
        last, self._line = self._line, ""
        return rest + self._redactor._hooked(last)

    def _advance(self, now: "_Snapshot") -> str:
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
                passed.append(self._pass([_Span(start, -1, limit, "open")], limit))
            if self._at == start or self._at == len(self._text):
                break
        self._forget()
        return "".join(passed)

    def _pass(self, spans: "list[_Span]", end: int) -> str:
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
                _Span(span.start - cut, span.order, span.end - cut, span.name)
                for span in self._found
            ]

    def _die(self) -> str:
        self._dead, self._text = True, ""
        return MARK.format(name="timeout")

    def _lines(self, passed: str) -> str:
        if not self._redactor._hooks:
            return passed
        self._line += passed
        out, end = [], 0
        for match in _HOOKED.finditer(self._line):
            line, end = match[0], match.end()
            broken = line.endswith("\n")
            out.append(self._redactor._hooked(line[:-1] if broken else line) + "\n" * broken)
        self._line = self._line[end:]
        return "".join(out)


@dataclass(frozen=True, slots=True, order=True)
class _Span:
    """Where a secret is; of two that begin together, the earlier rule's comes first."""

    start: int
    order: int
    end: int
    name: str


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A rule, ready."""

    rule: Rule
    pattern: "regex.Pattern[str]"
    begun: "regex.Pattern[str]"  # it may match with more text: partially, never wholly
    folds: bool  # its needs are compared without case
    needs: re.Pattern[bytes] | None
    prefixes: tuple[bytes, ...]  # of its needs: a text that ends so may go on with one

    def awake(self, text: bytes, holds: bool) -> bool:
        """Whether it may match in this text, or at its end with what comes.

        `holds`: some rule's need is in the text; if not, this one's is not either.
        """
        if self.needs is None or text.endswith(self.prefixes):
            return True
        return holds and bool(self.needs.search(text))

    def spans(self, text: str, start: int, limit: int, order: int) -> Iterator[tuple[int, _Span]]:
        """Find where it matches from, at each position alone, and what of it is the secret."""
        matches = self.pattern.finditer(text, start, limit, overlapped=True, timeout=TIMEOUT_S)
        for match in matches:
            first, last = match.span()
            if "secret" in self.pattern.groupindex and match.start("secret") >= first:
                first, last = match.span("secret")
            if first < last:
                yield match.start(), _Span(first, order, last, self.rule.name)


class _Snapshot:
    """The rules as they are now, in their order; another secret makes another snapshot."""

    def __init__(self, rules: Sequence[_Compiled], names: Iterable[str]) -> None:
        self._rules = tuple(enumerate(rules))
        self._always = tuple((order, rule) for order, rule in self._rules if not rule.needs)
        raw = {need for rule in rules if rule.needs and not rule.folds for need in rule.rule.needs}
        folds = {need for rule in rules if rule.needs and rule.folds for need in rule.rule.needs}
        self._raw = _search(map(_utf8, raw))
        self._folded = _search(_fold(_utf8(need)) for need in folds)
        # The same, as they stand inside of JSON.
        keys = [_fold(_json(name)) + b'":' for name in names]
        self._json_raw = _search(map(_json, raw))
        self._json_folded = _search([*keys, *(_fold(_json(need)) for need in folds)])
        self._raw_tails, self._folded_tails = (
            tuple({prefix for rule in rules if rule.folds is folds for prefix in rule.prefixes})
            for folds in (False, True)
        )

    def clean(self, encoded: bytes) -> bool:
        """Whether no rule and no key can have anything to do with this JSON."""
        return not (
            self._always
            or self._json_raw.search(encoded)
            or self._json_folded.search(_fold(encoded))
        )

    def clean_text(self, text: str) -> bool:
        """Whether no rule can have anything to do with this text."""
        raw = _utf8(text)
        return not (self._always or self._raw.search(raw) or self._folded.search(_fold(raw)))

    def awake(self, text: str) -> "Sequence[tuple[int, _Compiled]]":
        """Return the rules that may match in this text, or at its end with what comes."""
        raw = _utf8(text)
        folded = _fold(raw)
        holds = (bool(self._raw.search(raw)), bool(self._folded.search(folded)))
        if not any(holds) and not (
            raw.endswith(self._raw_tails) or folded.endswith(self._folded_tails)
        ):
            return self._always
        return [
            (order, rule)
            for order, rule in self._rules
            if rule.awake(folded if rule.folds else raw, holds[rule.folds])
        ]

    def undecided(
        self, awake: "Sequence[tuple[int, _Compiled]]", text: str, start: int, limit: int
    ) -> int:
        """Return the first position from which a rule may match with what comes after `limit`."""
        first = limit
        if limit - start > CONTEXT and any(
            rule.begun.match(text, start, limit, partial=True, timeout=TIMEOUT_S)
            for _, rule in awake
        ):
            return start  # much is held, and still open: do not try all of it with every piece
        for _, rule in awake:
            begun = rule.begun.search(text, start, limit, partial=True, timeout=TIMEOUT_S)
            if begun is not None:
                first = min(first, begun.start())
        return first

    def spans(
        self,
        awake: "Sequence[tuple[int, _Compiled]]",
        text: str,
        start: int,
        limit: int,
        before: int,
    ) -> list[_Span]:
        """Find the secrets of all matches from `start` on that begin before `before`."""
        found = []
        for order, rule in awake:
            for at, span in rule.spans(text, start, limit, order):
                if at >= before:
                    break
                found.append(span)
        return found


@lru_cache(maxsize=16)
def _snapshot_of(rules: tuple[_Compiled, ...], names: frozenset[str]) -> _Snapshot:
    return _Snapshot(rules, names)


def _fold(text: bytes) -> bytes:
    """Names as they are compared: `X-Api-Key`, `api_key` and `apiKey` end alike."""
    return text.translate(_LOWER, _IGNORED)


def _plain(name: str) -> str:
    return _fold(_utf8(name)).decode(errors="surrogatepass")


def _utf8(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


def _json(text: str) -> bytes:
    return _utf8(json.dumps(text, ensure_ascii=False)[1:-1])


def _search(literals: Iterable[bytes]) -> re.Pattern[bytes]:
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


@lru_cache(maxsize=256)
def _compiled(rule: Rule) -> _Compiled:
    return _compile(rule)


def _compile(rule: Rule) -> _Compiled:
    if any(match["ahead"] for match in _AHEAD.finditer(rule.pattern)):
        raise InvalidSetting(
            f"Rule {rule.name!r}: its pattern looks ahead, or asks for the end of the text",
            hint="In a stream what follows has not come: match it, and name the secret's group.",
        )
    flags = _FLAGS.match(rule.pattern)
    head, body = (flags[0], rule.pattern[flags.end() :]) if flags else ("", rule.pattern)
    # What is begun needs one more character, which must not be any that is there: so it never
    # matches wholly, and `partial` gives the first position whose match can go on at the end. There
    # a word may end or not: that is not known yet.
    either = _AHEAD.sub(lambda token: r"(?:\b|\Z)" if token[0] == r"\b" else token[0], body)
    begun = f"{head}(?:{either})(?s:.)(?<![\\s\\S])"
    try:
        pattern = regex.compile(rule.pattern, cache_pattern=False)
        compiled = regex.compile(begun, cache_pattern=False)
    except regex.error as error:
        raise InvalidSetting(f"Rule {rule.name!r}: its pattern is none: {error}") from error
    folds = bool(pattern.flags & regex.IGNORECASE)
    needs = [_utf8(need) for need in rule.needs]
    if folds:
        needs = [_fold(need) for need in needs]
        # Outside ASCII, `k` has other cases (the Kelvin sign), which bytes do not know.
        needs = needs if pattern.flags & regex.ASCII else []
    prefixes = {need[:end] for need in needs for end in range(1, len(need))}
    found = _search(needs) if needs and all(needs) else None
    return _Compiled(rule, pattern, compiled, folds, found, tuple(prefixes))


def _forms(secret: str) -> set[str]:
    """A secret as it is, and as JSON, URLs and base64 write it. Raises InvalidSetting."""
    if len(secret) < SECRET_MIN:
        raise InvalidSetting(
            f"A secret of {len(secret)} characters cannot be redacted",
            hint=f"It needs {SECRET_MIN} at least: a shorter one is part of innocent words.",
        )
    raw = _utf8(secret)
    forms = {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    forms |= {quote(raw, safe=""), quote(raw), quote_plus(raw)}
    for shift in range(3):  # how many bytes stand before it in the base64 of a longer text
        whole = base64.b64encode(b"\0" * shift + raw)
        certain = whole[(0, 2, 3)[shift] : (shift + len(raw)) * 8 // 6].decode()
        if len(certain) >= _BASE64_MIN:
            forms |= {certain, certain.translate(_URLSAFE)}
    if max(map(len, forms)) > HOLD_MAX:
        raise InvalidSetting(f"A secret of {len(secret)} characters is too long to be redacted")
    return forms
