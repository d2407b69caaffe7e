"""The blocking client is the asyncio client without its awaits: line for line."""

import ast
import inspect
import re

from tailrace.client import aio, sync

TO_SYNC = [
    (r"async def __anext__", "def __next__"),
    (r"\bawait anext\(", "next("),
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"__aiter__", "__iter__"),
    (r"__aenter__", "__enter__"),
    (r"__aexit__", "__exit__"),
    (r"\baclose\b", "close"),
    (r"\baclosing\b", "closing"),
    (r"\baread\b", "read"),
    (r"\baiter_raw\b", "iter_raw"),
    (r"AsyncGenerator\[Event, None\]", "Generator[Event, None, None]"),
    (r"\bAsyncIterator\b", "Iterator"),
    (r"\bhttpx\.AsyncClient\b", "httpx.Client"),
    (r"\bClient\b(?!\()", "SyncClient"),
    (r"httpx\.SyncClient", "httpx.Client"),
    (r"\bclient\.clock\.sleep\(", "client.pause("),
    (r"self\.clock: Clock = clock or SystemClock\(\)", "self.pause = pause"),
    (r"clock: Clock \| None = None", "pause: Callable[[float], None] = pause"),
    (r"\basyncio\.Lock\b", "threading.Lock"),
    (r"an async iterator", "an iterator"),
    (r"from asyncio", "from blocking code"),
    (r"an async context manager", "a context manager"),
    (r"( +)for event in (.*):\n +yield event", r"\1yield from \2"),
]


def body(module: object) -> str:
    """From the first class on: headers and imports differ in words."""
    source = inspect.getsource(module)  # type: ignore[arg-type] # a module
    return source[source.index("class Follow") :]


def test_the_twins_say_the_same() -> None:
    expected = body(aio)
    for pattern, replacement in TO_SYNC:
        expected = re.sub(pattern, replacement, expected)
    # The formatter breaks lines at other places: what counts is the syntax tree.
    assert ast.unparse(ast.parse(body(sync))) == ast.unparse(ast.parse(expected))
