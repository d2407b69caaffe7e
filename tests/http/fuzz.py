"""Requests that nobody would send in good faith, made from the OpenAPI document.

A request depends on the seed and its number only, and every route of the document is asked in
turn: a route that is added is fuzzed without a word here.
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

Json = dict[str, Any]
STRINGS = [
    *("", " ", "0", "-1", "1", "5", "00", "1e999", "NaN", "null", "true", "false", "None"),
    *("9" * 9, "9" * 10, "9" * 18, "9" * 19, "9" * 40, "9" * 5000, "-" + "9" * 30, "0x10", "1_0"),
    *("default", "*", "..", "../../etc/passwd", "%2e%2e%2f", "a/b", "\\", "X1", "X2", "W1"),
    *("2@0", "3@zz", "1@", "@", "1@1@1", "17_18.5.3fa9", "0_1.1.0000", "end", "1_"),
    *("node.*", "log.line", "execution.completed", "*.*", "custom.x", "error", "10m", "-3d", "1w"),
    *("999999999999d", "2026-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "0001-01-01"),
    *("x\r\nX-Injected: 1", "x\nX-Injected: 1", "\0", "a\0b", "\x7f", "\x1b[31m", "\ufeff"),
    *("😀", "e\u0301", "\u202e", "\u2028", "İ", "ß" * 300, "A" * 300, "A" * 7000),
    *("'; DROP TABLE event;--", '" OR 1=1', "<script>alert(1)</script>", "${jndi:ldap://x}"),
    *("{{7*7}}", "%s%n", "quick", "words", "nap", "text/event-stream", "application/json"),
]
NUMBERS: list[Any] = [
    *(0, 1, -1, 2, 63, 255, 2**31, -(2**31) - 1, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64),
    *(-(2**63) - 1, 10**30, 10**400, 0.1, -0.0, 1e-320, 1e308, float("inf"), float("nan")),
]
ACCEPTS = ["*/*", "text/event-stream", "application/x-ndjson", "text/plain", "application/json", ""]
TYPES = [
    "application/json",
    "application/json; charset=utf-16",
    "text/plain",
    "",
    "application/xml",
]
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "BREW", "get", ""]


@dataclass(frozen=True)
class Request:
    """What is sent. Of one that is cut the rest never comes, so no answer is waited for."""

    method: str
    target: str
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    cut: bool = False
    raw: bytes | None = None

    def encode(self) -> bytes:
        """As bytes, as they are: nothing is made right."""
        if self.raw is not None:
            return self.raw
        lines = [f"{self.method} {self.target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogatepass") + self.body


@dataclass
class Fuzzer:
    """Makes requests for the operations of a document."""

    document: Json
    seed: int
    always: Mapping[str, str] = field(default_factory=dict)  # headers, such as a credential

    def __post_init__(self) -> None:
        self.operations = [
            (path, method, operation)
            for path, item in sorted(self.document["paths"].items())
            for method, operation in sorted(item.items())
            if isinstance(operation, dict) and "responses" in operation
        ]

    def request(self, number: int) -> Request:
        """The request of that number."""
        rng = random.Random(f"{self.seed}/{number}")
        path, method, operation = self.operations[number % len(self.operations)]
        if rng.random() < 0.12:
            return self._broken(rng, path)
        parameters = operation.get("parameters", [])
        target = self._target(rng, path, parameters)
        headers = [("Host", "x"), *self.always.items(), ("Accept", rng.choice(ACCEPTS))]
        headers += self._headers(rng, parameters)
        verb = rng.choice(METHODS) if rng.random() < 0.06 else method.upper()
        body = b""
        if "requestBody" in operation or verb in ("POST", "PUT") or rng.random() < 0.05:
            body = self._body(rng, operation)
            headers += [("Content-Type", rng.choice(TYPES) if rng.random() < 0.2 else TYPES[0])]
            headers += [("Content-Length", str(len(body)))]
        rng.shuffle(headers)
        return Request(verb, target, headers, body)

    # --- the URL ------------------------------------------------------------------------------

    def _target(self, rng: random.Random, path: str, parameters: Sequence[Json]) -> str:
        for parameter in parameters:
            if parameter["in"] == "path":
                good = {"workspace": "default", "execution_id": rng.choice(["X1", "X2", "W1"])}
                value = good.get(parameter["name"], "x")
                if rng.random() < 0.3:
                    value = rng.choice(STRINGS)
                path = path.replace(f"{{{parameter['name']}}}", self._quoted(rng, value))
        names = [p["name"] for p in parameters if p["in"] == "query"]
        asked = rng.sample(names, rng.randint(0, min(3, len(names)))) if names else []
        if rng.random() < 0.05:
            asked += [rng.choice(STRINGS), rng.choice(["follow", "ticket", "limit"])]
        query = [f"{self._quoted(rng, n)}={self._quoted(rng, rng.choice(STRINGS))}" for n in asked]
        if "follow" in names and rng.random() < 0.5:
            query.append("follow=false")
        return path + (f"?{'&'.join(query)}" if query else "")

    def _quoted(self, rng: random.Random, text: str) -> str:
        if rng.random() < 0.05:
            return rng.choice(["%", "%zz", "%00", "%ff%fe", "%ed%a0%80", "%c0%af", "%0d%0aX:1"])
        return quote(text, safe="" if rng.random() < 0.8 else "/%@*._-")

    def _headers(self, rng: random.Random, parameters: Sequence[Json]) -> list[tuple[str, str]]:
        names = [p["name"] for p in parameters if p["in"] == "header" and rng.random() < 0.4]
        if rng.random() < 0.1:
            names.append(rng.choice(["Prefer", "Cookie", "Authorization", "X-Forwarded-For"]))
        if rng.random() < 0.1:
            names.append(rng.choice(["Origin", "Last-Event-ID", "If-None-Match", "Range"]))
        # A header cannot hold a line break: what could is in `_broken`.
        text = [value for value in STRINGS if value.isprintable()]
        return [(name, rng.choice(["wait=1", "Bearer x", *text])) for name in names]

    # --- the body -----------------------------------------------------------------------------

    def _body(self, rng: random.Random, operation: Json) -> bytes:
        kind = rng.random()
        content: Json = operation.get("requestBody", {}).get("content", {})
        schema: Json = next((form["schema"] for form in content.values()), {})
        value = self._fitting(rng, schema) if kind < 0.7 else self._any(rng, 0)
        text = json.dumps(value, ensure_ascii=rng.random() < 0.5)
        if kind > 0.85:
            return self._spoiled(rng, text)
        return text.encode("utf-8", "surrogatepass")

    def _fitting(self, rng: random.Random, schema: Json) -> Any:
        """Something like what the schema says, with something wrong here and there."""
        if "$ref" in schema:
            name = str(schema["$ref"]).rpartition("/")[2]
            schema = self.document["components"]["schemas"][name]
        for choices in ("anyOf", "oneOf", "allOf"):
            if choices in schema:
                return self._fitting(rng, rng.choice(schema[choices]))
        if rng.random() < 0.15:
            return self._any(rng, 0)
        if "enum" in schema:
            return rng.choice(schema["enum"])
        kind = schema.get("type")
        if kind == "object":
            must = schema.get("required", [])
            return {
                name: self._fitting(rng, inner)
                for name, inner in schema.get("properties", {}).items()
                if (name in must and rng.random() < 0.95) or rng.random() < 0.4
            }
        if kind == "array":
            return [self._fitting(rng, schema.get("items", {})) for _ in range(rng.randint(0, 4))]
        if kind == "string":
            return rng.choice(STRINGS if rng.random() < 0.6 else ["quick", "words", "nap", "noop"])
        if kind in ("integer", "number"):
            return rng.choice(NUMBERS)
        return {"n": rng.choice(NUMBERS)} if kind is None and rng.random() < 0.5 else None

    def _any(self, rng: random.Random, depth: int) -> Any:
        kind = rng.randint(0, 7 if depth < 6 else 4)
        if kind < 2:
            return rng.choice(STRINGS)
        if kind < 4:
            return rng.choice(NUMBERS)
        if kind == 4:
            return rng.choice([None, True, False, "\ud800", "x\udfff"])
        if kind < 7:
            names = rng.sample(STRINGS, rng.randint(0, 3))
            return {name: self._any(rng, depth + 1) for name in names}
        return [self._any(rng, depth + 1) for _ in range(rng.randint(0, 5))]

    def _spoiled(self, rng: random.Random, text: str) -> bytes:
        data = bytearray(text.encode("utf-8", "surrogatepass") or b"{}")
        kind = rng.randint(0, 5)
        if kind == 0:
            return bytes(data[: rng.randrange(len(data))])
        if kind == 1:
            for _ in range(rng.randint(1, 8)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            return bytes(data)
        if kind == 2:
            deep = rng.choice([63, 65, 200, 5000, 100_000])
            return rng.choice([b"[", b'{"a":', b'{"input":[']) * deep
        if kind == 3:
            return rng.randbytes(rng.choice([1, 10, 1000]))
        if kind == 4:
            return text.encode(rng.choice(["utf-16", "utf-32", "utf-7"]), "replace")
        return b'{"flow":"quick","input":{"n":"' + b"x" * rng.choice([10**5, 1_100_000]) + b'"}}'

    # --- what is not even HTTP ------------------------------------------------------------------

    def _broken(self, rng: random.Random, path: str) -> Request:
        good = self._target(rng, path, [])
        name = rng.choice(STRINGS).replace("A" * 300, "a")
        head, tail = f"POST {good} HTTP/1.1\r\nHost: x\r\n".encode(), b"\r\n\r\n"
        raws: list[tuple[bytes, bool]] = [
            (rng.randbytes(rng.randint(1, 2000)) + tail, True),
            (
                b"GET " + rng.randbytes(20).replace(b"\n", b"") + b" HTTP/1.1\r\nHost: x" + tail,
                True,
            ),
            (f"GET {good} HTTP/{rng.choice(['0.9', '1.0', '2', '9.9', ''])}".encode() + tail, True),
            (head + f"{name}: 1".encode("utf-8", "replace") + tail, True),
            (head + f"X-A: {name}".encode("utf-8", "replace") + tail, True),
            (head + b"Content-Length: 10\r\nContent-Length: 2" + tail + b"{}", True),
            (head + f"Content-Length: {rng.choice(STRINGS)}".encode() + tail + b"{}", True),
            (head + b"Content-Length: 5\r\nTransfer-Encoding: chunked" + tail + b"0\r\n\r\n", True),
            (head + b"Transfer-Encoding: chunked" + tail + b"zz\r\n{}\r\n0\r\n\r\n", True),
            (head + b"Transfer-Encoding: chunked" + tail + b"2\r\n{}\r\n0\r\n\r\n", False),
            (head + b"Transfer-Encoding: gzip, chunked" + tail + b"ffffffffffffffff\r\n", True),
            (head + b"Expect: 100-continue\r\nContent-Length: 2" + tail + b"{}", False),
            (head + b"Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0" + tail, True),
            (head + b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings" + tail, True),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", True),
            ((f"GET {good} HTTP/1.1\r\nHost: x\r\n\r\n" * rng.randint(2, 30)).encode(), False),
            (head + b"X-Many: 1\r\n" * rng.choice([500, 5000]) + tail, True),
            (
                f"GET {good}?{'q' * rng.choice([9000, 70_000])} HTTP/1.1\r\nHost: x".encode()
                + tail,
                False,
            ),
            (f"GET http://other{good} HTTP/1.1\r\nHost: x".encode() + tail, True),
            (f"GET {good} HTTP/1.1\r\n".encode(), True),
            (head + b"Content-Length: 100000" + tail + b'{"flow":', True),
        ]
        raw, cut = rng.choice(raws)
        return Request("RAW", good, raw=raw, cut=cut)
