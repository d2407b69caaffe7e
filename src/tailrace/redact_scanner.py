"""Where in a text secrets are, and from where on that is still open.

The law of this file: each position of a text is decided alone: a rule matches there or not,
whatever was found before it. So a stream may pass on all that comes before the first position that
a rule could still match from, and nothing else; that position is found by `regex`'s partial
matching, which is why rules are not `re`'s.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import regex

from tailrace.errors import InvalidSetting
from tailrace.redact_literals import escaped, fold, search, utf8
from tailrace.redact_rules import CONTEXT, Rule

TIMEOUT_S = 0.25  # of processor time for one search; the default rules need a thousandth of it

_AHEAD = re.compile(
    r"\\[^ZzBGK]|\[\^?\]?(?:\\.|[^\]\\])*\]|(?P<ahead>\(\?[=!]|\$|\\[ZzBGK])", re.DOTALL
)
_FLAGS = re.compile(r"\(\?([a-z]+)\)")


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Where a secret is; of two that begin together, the earlier rule's comes first."""

    start: int
    order: int
    end: int
    name: str


@dataclass(frozen=True, slots=True)
class Compiled:
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

    def spans(self, text: str, start: int, limit: int, order: int) -> Iterator[tuple[int, Span]]:
        """Find where it matches from, at each position alone, and what of it is the secret."""
        matches = self.pattern.finditer(text, start, limit, overlapped=True, timeout=TIMEOUT_S)
        for match in matches:
            first, last = match.span()
            if "secret" in self.pattern.groupindex and match.start("secret") >= first:
                first, last = match.span("secret")
            if first < last:
                yield match.start(), Span(first, order, last, self.rule.name)


Awake = Sequence[tuple[int, Compiled]]  # rules that may match, in their order


class Snapshot:
    """The rules as they are now, in their order; another secret makes another snapshot."""

    def __init__(self, rules: Sequence[Compiled], names: Iterable[str]) -> None:
        self._rules = tuple(enumerate(rules))
        self._always = tuple((order, rule) for order, rule in self._rules if not rule.needs)
        raw = {need for rule in rules if rule.needs and not rule.folds for need in rule.rule.needs}
        folds = {need for rule in rules if rule.needs and rule.folds for need in rule.rule.needs}
        self._raw = search(map(utf8, raw))
        self._folded = search(fold(utf8(need)) for need in folds)
        # The same, as they stand inside of JSON.
        keys = [fold(escaped(name)) + b'":' for name in names]
        self._json_raw = search(map(escaped, raw))
        self._json_folded = search([*keys, *(fold(escaped(need)) for need in folds)])
        self._raw_tails, self._folded_tails = (
            tuple({prefix for rule in rules if rule.folds is folds for prefix in rule.prefixes})
            for folds in (False, True)
        )

    def clean(self, encoded: bytes) -> bool:
        """Whether no rule and no key can have anything to do with this JSON."""
        return not (
            self._always
            or self._json_raw.search(encoded)
            or self._json_folded.search(fold(encoded))
        )

    def clean_text(self, text: str) -> bool:
        """Whether no rule can have anything to do with this text."""
        raw = utf8(text)
        return not (self._always or self._raw.search(raw) or self._folded.search(fold(raw)))

    def awake(self, text: str) -> Awake:
        """Return the rules that may match in this text, or at its end with what comes."""
        raw = utf8(text)
        folded = fold(raw)
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

    def undecided(self, awake: Awake, text: str, start: int, limit: int) -> int:
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
        awake: Awake,
        text: str,
        start: int,
        limit: int,
        before: int,
    ) -> list[Span]:
        """Find the secrets of all matches from `start` on that begin before `before`."""
        found = []
        for order, rule in awake:
            for at, span in rule.spans(text, start, limit, order):
                if at >= before:
                    break
                found.append(span)
        return found


@lru_cache(maxsize=16)
def snapshot_of(rules: tuple[Compiled, ...], names: frozenset[str]) -> Snapshot:
    """A snapshot of rules that others may have, too: most redactors have the same."""
    return Snapshot(rules, names)


@lru_cache(maxsize=256)
def compiled(rule: Rule) -> Compiled:
    """A rule that others may have, too, made ready once. Raises InvalidSetting."""
    return compile_rule(rule)


def compile_rule(rule: Rule) -> Compiled:
    """Make a rule ready. Raises InvalidSetting if its pattern is none, or looks ahead."""
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
    partial = f"{head}(?:{either})(?s:.)(?<![\\s\\S])"
    try:
        pattern = regex.compile(rule.pattern, cache_pattern=False)
        begun = regex.compile(partial, cache_pattern=False)
    except regex.error as error:
        raise InvalidSetting(f"Rule {rule.name!r}: its pattern is none: {error}") from error
    folds = bool(pattern.flags & regex.IGNORECASE)
    needs = [utf8(need) for need in rule.needs]
    if folds:
        needs = [fold(need) for need in needs]
        # Outside ASCII, `k` has other cases (the Kelvin sign), which bytes do not know.
        needs = needs if pattern.flags & regex.ASCII else []
    prefixes = {need[:end] for need in needs for end in range(1, len(need))}
    found = search(needs) if needs and all(needs) else None
    return Compiled(rule, pattern, begun, folds, found, tuple(prefixes))
