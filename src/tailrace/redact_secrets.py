"""All that is looked for: the rules, and the secrets that were named.

The law of this file: a named secret is found in every form that JSON, URLs and base64 give it, and
whoever looks takes one snapshot of all: one that is added meanwhile is in the next.
"""

import base64
import json
import threading
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

import regex

from tailrace.errors import InvalidSetting
from tailrace.redact_literals import utf8
from tailrace.redact_rules import HOLD_MAX, Rule
from tailrace.redact_scanner import Snapshot, compile_rule, compiled, snapshot_of

SECRET_MIN = 4  # shorter, and it would tear holes into every text

_BASE64_MIN = 8  # of what base64 makes of a secret; less is found by chance
_URLSAFE = str.maketrans("+/", "-_")


class Known:
    """What one Redactor looks for; `now` is replaced as a whole. From any thread."""

    def __init__(
        self, rules: Iterable[Rule], names: frozenset[str], secrets: Iterable[str]
    ) -> None:
        self._rules = tuple(compiled(rule) for rule in rules)
        self._names = names
        self._forms: set[str] = set()
        self._lock = threading.Lock()
        for secret in secrets:
            self._forms |= _forms(secret)
        self.now = self._snapshot()

    def add(self, secret: str) -> None:
        """Look for this text too, from now on. Raises InvalidSetting."""
        forms = _forms(secret)
        with self._lock:
            self._forms |= forms
            self.now = self._snapshot()

    def _snapshot(self) -> Snapshot:
        if not self._forms:
            return snapshot_of(self._rules, self._names)
        longest_first = sorted(self._forms, key=lambda form: (-len(form), form))
        pattern = "(?a)" + "|".join(map(regex.escape, longest_first))
        secrets = compile_rule(Rule("secret", pattern, tuple(longest_first)))
        return Snapshot((secrets, *self._rules), self._names)


def _forms(secret: str) -> set[str]:
    """A secret as it is, and as JSON, URLs and base64 write it. Raises InvalidSetting."""
    if len(secret) < SECRET_MIN:
        raise InvalidSetting(
            f"A secret of {len(secret)} characters cannot be redacted",
            hint=f"It needs {SECRET_MIN} at least: a shorter one is part of innocent words.",
        )
    raw = utf8(secret)
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
