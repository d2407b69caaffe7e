"""What a secret looks like: rules for texts, and the names that values have.

The law of this file: a rule asks for what is before a place and at it, never for what follows. In
a stream that has not come yet.
"""

from dataclasses import dataclass

MARK = "[redacted:{name}]"  # what replaces a secret; names the rule
HOLD_MAX = 16_384  # characters of a stream that wait for what follows them
CONTEXT = 256  # characters already passed on that a rule may look behind at


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
        "tailrace",
        r"(?a)(?<![A-Za-z0-9])tlr_[0-9a-f]{12}_[A-Za-z0-9_-]{20,64}",
        ("tlr_",),
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
NO_SECRETS = (
    *("pagetoken", "nexttoken", "synctoken", "continuationtoken"),
    *("bostoken", "eostoken", "padtoken", "unktoken", "septoken", "clstoken", "masktoken"),
)
