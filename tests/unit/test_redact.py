"""Secrets are found whole, nothing else is, and no cut of a text changes either."""

import base64
import json
import random
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

from tailrace.errors import InvalidSetting
from tailrace.redact import Redactor
from tailrace.redact_rules import CONTEXT, HOLD_MAX, KEYS, MARK, RULES, Rule
from tailrace.redact_stream import TextStream

REDACTOR = Redactor()
BODY = "Zm9vYmFyYmF6" * 5 + "+/a9"
PEM = f"-----BEGIN RSA PRIVATE KEY-----\n{BODY}\n{BODY}\nQUJD=\n-----END RSA PRIVATE KEY-----"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"
GITHUB = "ghp_" + "a1B2c3" * 6
OPENAI = "sk-" + "aB3" * 16

# name of the rule, text, and the secret in it
SECRETS = [
    ("private-key", f"key: {PEM}\nand on", PEM),
    ("private-key", PEM.replace("\n", "\\n"), PEM.replace("\n", "\\n")),
    ("private-key", f"cut off:\n{PEM[:150]}", PEM[:150]),
    ("jwt", f"got {JWT}, ok", JWT),
    ("aws-key-id", "id AKIAIOSFODNN7EXAMPLE.", "AKIAIOSFODNN7EXAMPLE"),
    ("aws-key-id", "ASIAIOSFODNN7EXAMPLE", "ASIAIOSFODNN7EXAMPLE"),
    ("aws-secret", f"aws_secret_access_key = {'wJal/+Xk' * 5}", "wJal/+Xk" * 5),
    ("aws-secret", f'"SecretAccessKey": "{"wJal/+Xk" * 5}"', "wJal/+Xk" * 5),
    ("github", f"git clone {GITHUB}", GITHUB),
    ("github", f"x={'gho_' + 'a' * 36}", "gho_" + "a" * 36),
    ("github", f"{'ghs_' + 'a' * 36}", "ghs_" + "a" * 36),
    ("github", "github_pat_11ABCDEFG0abcdefghijkl_mnop", "github_pat_11ABCDEFG0abcdefghijkl_mnop"),
    ("tailrace", f"--token tlr_0123456789ab_{'aB-_' * 11}", f"tlr_0123456789ab_{'aB-_' * 11}"),
    ("slack", "use xoxb-123456789012-abcDEF now", "xoxb-123456789012-abcDEF"),
    ("api-key", f"key {OPENAI}", OPENAI),
    ("api-key", "sk-ant-api03-abc_DEF-ghiJKLmno", "sk-ant-api03-abc_DEF-ghiJKLmno"),
    ("api-key", "pk_live_4eC39HqLyjWDarjtT1zdp7dc", "pk_live_4eC39HqLyjWDarjtT1zdp7dc"),
    ("api-key", "rk_test_4eC39HqLyjWDarjtT1zdp7dc", "rk_test_4eC39HqLyjWDarjtT1zdp7dc"),
    ("google", f"AIza{'Sy1_-' * 7}", f"AIza{'Sy1_-' * 7}"),
    ("url-password", "at postgres://bob:hunter2@db:5432/x", "hunter2"),
    ("url-password", "redis://:p@ss:w0rd@cache/0", "p@ss:w0rd"),
    ("authorization", "Authorization: Basic dXNlcjpwYXNz\r\n", "Basic dXNlcjpwYXNz"),
    ("authorization", '{"authorization":"Bearer abcdef"}', "Bearer abcdef"),
    ("bearer", "send Bearer abc.def-123 with it", "abc.def-123"),
    ("bearer", f"bearer {'abcde' * 5}", "abcde" * 5),
    ("cookie", "Cookie: id=abc; theme=dark\nnext", "id=abc; theme=dark"),
    ("cookie", "Set-Cookie: id=abc; HttpOnly", "id=abc; HttpOnly"),
    ("password", "password=hunter2 done", "hunter2"),
    ("password", "DB_PASSWORD: swordfish", "swordfish"),
    (
        "password",
        '{"password": "with space, \\"and\\" quotes", "n": 1}',
        'with space, \\"and\\" quotes',
    ),
    ("password", '{\\"password\\":\\"in json in json\\",\\"n\\":1}', "in json in json"),
    ("password", "passwd='it is'", "it is"),
    ("password", "?api_key=abc&page=2", "abc"),
    ("password", "--api-key=a,b, c", "a,b"),
    ("password", "Pwd;Password=pass\\word;Server=x", "pass\\word"),
    ("password", "password=пароль ok", "пароль"),
    ("password", 'password="cut in the mid', "cut"),
    ("assignment", "token=abc", "abc"),
    ("assignment", "mySecret : 'all words'", "all words"),
    ("assignment", "token: x9f8", "x9f8"),
]
INNOCENT = [
    *("tokenization=3", "task-force", "risk-free", "sk-", "disk-1", "ask-me-anything-about-it-now"),
    *("sk-learn-pipelines-are-good-things", "https://example.com/a:b@c", "http://localhost:8080/x"),
    *("http://h:80 mail me@example.com", "Bearer of bad news", "the bearer instruments are", "eyJ"),
    *("Token: the smallest unit of text", "token: a", "Secret: always be kind.", "session: one"),
    *("input_tokens=12 max_tokens: 5", "next_page_token=CAUQAA", "pageToken: 9f8x", "AKIA", "xoxo"),
    *(
        "Cookie: a small baked thing",
        "Authorization: none needed",
        "password",
        "password:",
        "token =",
    ),
    *("`-----BEGIN PUBLIC KEY-----`", "ghp_short", "AKIAIOSFODNN7EXAMPLEANDMORE", "a.eyJ.b"),
    *("", " ", "\n\n", "  Hello \r\n", "\ud800 \udfff", "😀", "2026-02-18T10:30:00Z", "paſſword=x"),
]


def cut(text: str, redactor: Redactor = REDACTOR, at: Iterator[int] | None = None) -> str:
    """Stream a text, in pieces of these lengths; without any, character by character."""
    stream, out, position = redactor.stream(), [], 0
    while position < len(text):
        end = position + (next(at) if at else 1)
        out.append(stream.feed(text[position:end]))
        position = end
    return "".join(out) + stream.end()


@pytest.mark.parametrize(("name", "text", "secret"), SECRETS)
def test_a_secret_is_replaced_whole_and_nothing_else(name: str, text: str, secret: str) -> None:
    expected = text.replace(secret, MARK.format(name=name))
    assert REDACTOR.text(text) == expected
    assert cut(text) == expected
    assert not REDACTOR.clean_bytes(to_json({"line": text}))


@pytest.mark.parametrize("text", INNOCENT)
def test_what_is_no_secret_stays_the_same_object(text: str) -> None:
    assert REDACTOR.text(text) is text
    assert cut(text) == text


def test_every_rule_has_an_example() -> None:
    assert {name for name, _, _ in SECRETS} == {rule.name for rule in RULES}


def test_secrets_that_overlap_become_one_mark_of_the_first() -> None:
    assert REDACTOR.text(f"token={GITHUB}") == "token=[redacted:github]"
    assert (
        REDACTOR.text(f"https://{GITHUB}:x-oauth-basic@github.com")
        == "https://[redacted:github]:[redacted:url-password]@github.com"
    )


def test_redacting_twice_changes_nothing_more_where_a_key_hides_it() -> None:
    once = REDACTOR.value({"password": "hunter2", "line": f"got {JWT}"})
    assert REDACTOR.value(once) is once


# The law: pieces of secrets, of what looks like them, and of anything, in any order, cut anywhere.
PIECES = [
    *("password", "Token", "secret", "Bearer ", "Authorization", "cookie", "session", "api-key"),
    *("access", "sk-", "pk_live_", "ghp_", "xoxb-", "AKIA", "AIza", "eyJ", ".eyJ", ".", "https://"),
    *("user", ":", "@", "=", ": ", " = ", '"', "'", '\\"', "\\", " ", "\t", "\n", "\r\n", ",", ";"),
    *(
        "&",
        "-----BEGIN ",
        "PRIVATE KEY",
        "RSA ",
        "-----",
        "-----END ",
        "page_",
        "_",
        "-",
        "😀",
        "é",
    ),
    *("\ud800", "\u212a", "[", "aws_", "key", "basic ", "a=b", "Hello", "risk-free", "abc123" * 7),
    *("ABCDEF0123456789", "wJal/+Xk" * 5, BODY, PEM, JWT, GITHUB, OPENAI),
]
TEXTS = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=5)), max_size=14).map("".join)
CUTS = st.integers(0, 2**32).map(random.Random)
OWN = ['pa"ss\\wörd', "hunter2hunter2", "line one\nline two", "hunter2hunter3"]
KNOWING = Redactor(secrets=OWN)


def lengths(source: random.Random) -> Iterator[int]:
    while True:
        yield source.randint(0, 9)


@given(TEXTS, CUTS)
def test_cuts_change_nothing(text: str, cuts: random.Random) -> None:
    assert cut(text, at=lengths(cuts)) == REDACTOR.text(text)


@given(TEXTS, st.sampled_from(OWN), TEXTS, CUTS)
def test_cuts_change_nothing_with_secrets_of_ones_own(
    before: str, secret: str, after: str, cuts: random.Random
) -> None:
    text = before + secret + after
    redacted = KNOWING.text(text)
    assert cut(text, KNOWING, lengths(cuts)) == redacted
    assert secret not in redacted


@given(TEXTS)
def test_a_hold_ends_with_its_line(text: str) -> None:
    """A rule whose hold outlives what it can match would hold a stream for nothing."""
    if "BEGIN" not in text:  # a private key has more lines
        stream = REDACTOR.stream()
        stream.feed(text + "\n")
        assert stream.end() == ""


VALUES = st.recursive(
    st.one_of(TEXTS, st.none(), st.booleans(), st.integers()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(st.sampled_from([*KEYS, "X-Api-Key", "dbPassword", "a b.TOKEN", "n"]), TEXTS),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=6,
)


@given(VALUES)
def test_what_is_clean_has_nothing_to_redact(value: Any) -> None:
    try:
        encoded = to_json(value)
    except ValueError:
        return  # lone surrogates are no JSON
    for redactor in (REDACTOR, KNOWING):
        if redactor.clean_bytes(encoded):
            assert redactor.value(value) is value


@pytest.mark.parametrize("secret", [*OWN, "tab\there", "\x1f\x7f\x00\u2028", "plain"])
def test_an_event_with_a_secret_in_any_form_is_not_clean(secret: str) -> None:
    redactor = Redactor(rules=(), keys=(), secrets=[secret])
    for form in (secret, json.dumps(secret), quote(secret), quote(secret, safe="")):
        assert not redactor.clean_bytes(to_json({"n": form}))
        assert redactor.text(form).strip('"') == "[redacted:secret]"


def test_what_cannot_be_the_beginning_of_a_secret_is_passed_on_at_once() -> None:
    stream = REDACTOR.stream()
    for piece in ("Hello", " world", "  \n", "\ud800", " I", " want", " to", " token", " = "):
        assert stream.feed(piece) == piece
    assert stream.feed("abc") == ""
    assert stream.feed("d ok") == "[redacted:assignment] ok"
    assert stream.feed(" sk-") == " "
    assert stream.feed("lea") == ""
    assert stream.feed("rn it") == "sk-learn it"
    assert stream.end() == ""


def test_no_more_than_hold_max_is_ever_held() -> None:
    stream = Redactor(rules=[Rule("open", r"(?s)a.*b")]).stream()
    held = []
    for _ in range(80):
        stream.feed("aab " * 250)
        held.append(len(stream._text) - stream._at)
    assert HOLD_MAX - 1000 < max(held) <= HOLD_MAX
    assert len(stream._text) <= HOLD_MAX + CONTEXT


def test_what_is_open_for_too_long_is_replaced_wherever_it_is_cut() -> None:
    redactor = Redactor(rules=[Rule("tag", r"(?s)<x>.*</x>")], keys=())
    text = "before <x>" + "a" * 2 * HOLD_MAX + "</x> after"
    redacted = redactor.text(text)
    assert redacted.startswith("before [redacted:open]a")
    assert redacted.endswith("</x> after")
    pieces = random.Random(1)
    assert cut(text, redactor, iter(lambda: pieces.randint(1, 5000), 0)) == redacted
    assert cut(text, redactor, iter([len(text)])) == redacted
    assert redactor.text("<x>" + "a" * (HOLD_MAX - 7) + "</x>") == "[redacted:tag]"


@given(st.lists(st.sampled_from(["a", "b", "ab", "aab", "c", "\n", "ba", " "]), max_size=12), CUTS)
@pytest.mark.parametrize(
    "pattern",
    [
        "(?:ab)*c",
        "a+?b",
        r"(?<=b)a{2,3}",
        "(a|b)\\1",
        "(?:a|ab)(?:c|bc)",
        r"\bab\b",
        r"[b ]+\bc",
        "(?i)A+B|b++",
    ],
)
def test_rules_of_ones_own_keep_the_law(
    pattern: str, pieces: list[str], cuts: random.Random
) -> None:
    redactor, text = Redactor(rules=[Rule("own", pattern)]), "".join(pieces)
    assert cut(text, redactor, lengths(cuts)) == redactor.text(text)


@pytest.mark.parametrize("pattern", ["a(?=b)", "a(?!b)", "a$", r"a\Z", r"a\z", r"a\B", "a(", "[a"])
def test_a_rule_that_looks_ahead_or_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidSetting, match="own"):
        Redactor(rules=[Rule("own", pattern)])


def test_the_needs_of_a_rule_make_it_cheap_and_change_nothing() -> None:
    rule = Rule("staff", "(?ai)staff[- ]id [0-9]+", needs=("staff id",))
    redactor = Redactor(rules=[rule], keys=())
    assert redactor.clean_bytes(b'{"line":"nothing here"}')
    assert not redactor.clean_bytes(b'{"line":"STAFF-ID 12"}')
    assert redactor.text("STAFF-ID 12 staff id 3") == "[redacted:staff] [redacted:staff]"
    assert cut("STAFF-ID 12 st staff id 3", redactor) == "[redacted:staff] st [redacted:staff]"
    # Beyond ASCII, `k` has a third case, which a search in bytes would not see.
    kelvin = Redactor(rules=[Rule("k", "(?i)key-[0-9]+", needs=("key-",))])
    assert kelvin.text("\u212aey-12") == "[redacted:k]" == cut("\u212aey-12", kelvin)
    assert not kelvin.clean_bytes(to_json({"n": "\u212aey-12"}))


def test_a_rule_may_name_what_looks_like_looking_ahead() -> None:
    assert Redactor(rules=[Rule("own", r"\$[$)(?=]+\\Z")]).text(r"a $$?=\Z") == "a [redacted:own]"


@pytest.mark.timeout(60)  # the search takes its whole quarter of a second, twice
def test_a_pattern_without_end_costs_the_text_and_not_the_process() -> None:
    slow = Redactor(rules=[Rule("slow", r"(?:x+x+)+y")])
    text = "before " + "x" * 4000
    assert slow.text(text) == "[redacted:timeout]"
    stream: TextStream = slow.stream()
    assert stream.feed("before ") == "before "
    assert stream.feed("x" * 4000 + "z") == "[redacted:timeout]"
    assert stream.feed("more") + stream.end("rest") == ""


SENSITIVE = [
    *("password", "PASSWORD", "db_password", "userPassword", "X-Api-Key", "apiKey", "APIKey"),
    *("OPENAI_API_KEY", "Set-Cookie", "client_secret", "clientSecret", "refresh-token", "passwd"),
    *(
        "Authorization",
        "Proxy-Authorization",
        "private_key",
        "session",
        "user[password]",
        "db/token",
    ),
]
HARMLESS = [
    *("input_tokens", "output_tokens", "max_tokens", "token_count", "next_page_token", "nextToken"),
    *(
        "tokenizer",
        "passwords_changed",
        "session_id",
        "eos_token",
        "secretary",
        "key",
        "keys",
        "",
        "n",
    ),
    *("primary_key", "public_key", "cookie_policy", "subtoken", "password_hint"),
]


@pytest.mark.parametrize("key", SENSITIVE)
@pytest.mark.parametrize("item", ["x", 12, 1.5, ["x"], {"a": 1}])
def test_what_stands_under_a_sensitive_key_is_replaced_whole(key: str, item: object) -> None:
    assert REDACTOR.value({"n": [{key: item, "m": 1}]}) == {"n": [{key: "[redacted:key]", "m": 1}]}
    assert not REDACTOR.clean_bytes(to_json({"n": [{key: item}]}))


@pytest.mark.parametrize("key", SENSITIVE)
@pytest.mark.parametrize("item", [None, True, False, "", [], {}])
def test_what_says_nothing_stays_under_a_sensitive_key(key: str, item: object) -> None:
    value = {key: item}
    assert REDACTOR.value(value) is value


@pytest.mark.parametrize("key", HARMLESS)
def test_other_keys_hide_nothing(key: str) -> None:
    value = {key: [1, {"a": ("x", None)}], "n": "y"}
    assert REDACTOR.value(value) is value


def test_usage_and_lines_are_clean() -> None:
    """The events that come most: a filter that never says so would be worth nothing."""
    assert REDACTOR.clean_bytes(to_json({"input_tokens": 3, "output_tokens": 5}))
    assert REDACTOR.clean_bytes(to_json({"line": "batch 3 of 7", "level": "info"}))
    assert REDACTOR.clean_bytes(to_json({"text": " token", "offset": 3}))


def test_a_value_is_copied_only_where_it_changes() -> None:
    kept = {"a": [1, 2]}
    value = {"kept": kept, "t": ("x", f"k {GITHUB}"), 3: object}
    redacted = REDACTOR.value(value)
    assert redacted == {"kept": {"a": [1, 2]}, "t": ("x", "k [redacted:github]"), 3: object}
    assert redacted["kept"] is kept
    assert value["t"] == ("x", f"k {GITHUB}")


def test_keys_of_ones_own() -> None:
    redactor = Redactor(keys=["Pin-Code", "пин", 'a"b'])
    assert redactor.value({"pinCode": 1, "my пин": 2, 'a"b': 3, "password": "x"}) == {
        "pinCode": "[redacted:key]",
        "my пин": "[redacted:key]",
        'a"b': "[redacted:key]",
        "password": "x",
    }
    for key in ("pinCode", "my пин", 'a"b'):
        assert not redactor.clean_bytes(to_json({key: 1}))


def test_a_secret_is_found_in_the_base64_of_a_longer_text() -> None:
    redactor = Redactor(secrets=["correct horse?>"])
    for user in ("u", "us", "use"):
        encoded = base64.b64encode(f"{user}:correct horse?>:end".encode()).decode()
        assert "[redacted:secret]" in redactor.text(f"Basic: {encoded}")
        urlsafe = encoded.replace("+", "-").replace("/", "_")
        assert "[redacted:secret]" in redactor.text(f"?q={urlsafe}")


def test_a_secret_may_be_added_while_a_stream_is_open() -> None:
    redactor = Redactor()
    stream = redactor.stream()
    assert stream.feed("open ses") == "open ses"
    redactor.add_secret("sesame street")
    assert stream.feed("same; sesa") == "same; "
    assert stream.feed("me street!") == "[redacted:secret]!"
    assert redactor.text("sesame street") == "[redacted:secret]"


@pytest.mark.parametrize("secret", ["", "abc", "x" * (HOLD_MAX + 1)])
def test_a_secret_that_is_too_short_or_too_long_is_refused(secret: str) -> None:
    with pytest.raises(InvalidSetting):
        Redactor().add_secret(secret)
    with pytest.raises(InvalidSetting):
        Redactor(secrets=[secret])


def shout(line: str) -> str:
    assert "\n" not in line
    assert "hunter2" not in line
    return line.replace("bob", "BOB")


def broken(line: str) -> str:
    raise RuntimeError(line)


def test_hooks_get_lines_after_the_rules_in_texts_values_and_streams() -> None:
    redactor = Redactor(hooks=[shout, str.strip])
    text = " bob\npassword=hunter2 bob \n\nbo"
    expected = "BOB\npassword=[redacted:password] BOB\n\nbo"
    assert redactor.text(text) == expected == cut(text, redactor)
    assert redactor.value({"a": [text]}) == {"a": [expected]}
    assert not redactor.clean_bytes(b'{"a":1}')
    stream = redactor.stream()
    assert stream.feed("I am b") == ""
    assert stream.feed("ob\nand ") == "I am BOB\n"


@pytest.mark.parametrize("length", [HOLD_MAX - 1, HOLD_MAX, HOLD_MAX + 1, 2 * HOLD_MAX])
def test_a_long_line_reaches_hooks_in_the_same_parts_however_it_is_cut(length: int) -> None:
    redactor = Redactor(hooks=[lambda line: f"<{len(line)}>"])
    text = "x" * length + "\ny"
    cuts = random.Random(length)
    assert cut(text, redactor, iter(lambda: cuts.randint(1, 9999), 0)) == redactor.text(text)


def test_a_hook_that_fails_costs_its_line() -> None:
    assert Redactor(hooks=[broken]).text("a\nb") == "[redacted:hook]\n[redacted:hook]"
    no_text: Any = {}.get
    assert Redactor(hooks=[no_text]).text("a") == "[redacted:hook]"
