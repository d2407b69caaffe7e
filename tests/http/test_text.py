"""Streams by kind, and text: what a reader joins is what was produced, byte for byte."""

import json
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from tailrace import Client, Result, Tailrace, agent, chunk, flow, node, sse, step, task
from tailrace.batch import Batch
from tailrace.compact import compact
from tailrace.events import Draft, Record
from tailrace.filters import Filter
from tailrace.http.faces import TEXT, TEXT_PLAIN, writer
from tailrace.redact import Redactor
from tailrace.testing.contract.tools import TS, begin, ended, started
from tailrace.voice import Pieces
from tests.http.conftest import BASE, Serve, Served, messages

TEXTS = [
    ["  leading", "  spaces  "],
    ["a\n", "\n", "b\r\n", "c\n\nd"],
    ["split\r", "\nhere", "\r", "\r", "end\r"],
    ["\u2028", "\u2029", "\x85", "\x0b"],
    ["", "empty", "", ""],
    ["emoji 😀 ", "\ud83d", "\ude00", " joined"],
    ["data: ", "id: 7", "\nevent: x", ": comment"],
    ["x" * 200_000, "y"],
    ["\ufeffbom", "nul \0 tab \t"],
]


@agent
async def speaks(pieces: list[str]) -> AsyncIterator[str]:
    for piece in pieces:
        yield piece


@agent
async def recites(case: int) -> AsyncIterator[str]:
    for piece in TEXTS[case]:
        yield piece


@agent
async def splits(pieces: list[str]) -> AsyncIterator[bytes]:
    """The same text as bytes, one by one: every character is cut somewhere."""
    for byte in "".join(pieces).encode():
        yield bytes([byte])


class Answer(BaseModel):
    text: str


@agent
async def structured() -> AsyncIterator[Answer]:
    yield Answer(text="a")


@task
async def returns() -> str:
    return "all at once"


@task
async def silent() -> None:
    async with step("only"):
        pass


@agent
async def fails() -> AsyncIterator[str]:
    yield "so far"
    raise ValueError("no more")


@node
async def one(n: int) -> int:
    chunk("said by a node")
    return n


@flow
def wired(n: int) -> object:
    return one(n)


@pytest.fixture
async def served(serve: Serve) -> AsyncIterator[Served]:
    flows = [speaks, recites, splits, structured, returns, silent, fails, wired]
    async with serve(flows=flows) as made:
        yield made


async def run(tailrace: Tailrace, name: str, given: Any = None) -> str:
    started = await tailrace.start(name, given)
    await started.wait()
    return started.id


def kind_path(kind: str, execution_id: str) -> str:
    return f"/api/v1/executions/{kind}s/{execution_id}/stream"


def produced(pieces: list[str]) -> str:
    joined = "".join(pieces)
    return joined.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def without_cr(text: str) -> str:
    """What SSE can carry: every line break is a LF (WHATWG HTML, 9.2.6)."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


async def unnamed(response: httpx.Response) -> str:
    """What an EventSource's `onmessage` gets, joined."""
    decoder, text = sse.Decoder(), ""
    async for part in response.aiter_raw():
        text += "".join(m.data for m in decoder.feed(part) if m.event == "message")
    return text


@pytest.mark.parametrize("case", range(len(TEXTS)), ids=lambda n: ascii("".join(TEXTS[n])[:20]))
async def test_text_arrives_as_it_was_produced(served: Served, case: int) -> None:
    whole = produced(TEXTS[case])
    execution_id = await run(served.tailrace, "recites", {"case": case})
    path = kind_path("agent", execution_id)
    async with served.http.stream("GET", path) as response:
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert await unnamed(response) == without_cr(whole)
    plain = await served.http.get(path, headers={"Accept": "text/plain"})
    assert plain.content == whole.encode()
    for compacted in ("true", "false"):
        async with served.http.stream("GET", f"{path}?format=json&compact={compacted}") as events:
            text = ""
            async for _, event in messages(events):
                if event.type == "llm.chunk":
                    assert event.data["offset"] == len(text)
                    text += event.data["text"]
            assert text == whole


async def test_bytes_cut_within_characters_are_whole_again(served: Served) -> None:
    pieces = ["naïve 😀\r\n", "\u2028 ok"]
    execution_id = await run(served.tailrace, "splits", {"pieces": pieces})
    path = kind_path("agent", execution_id)
    plain = await served.http.get(path, headers={"Accept": "text/plain"})
    assert plain.content == "".join(pieces).encode()


async def test_text_resumes_after_each_of_its_ids(served: Served) -> None:
    pieces = [f"{n} " for n in range(30)]
    execution_id = await run(served.tailrace, "speaks", {"pieces": pieces})
    path = kind_path("agent", execution_id)
    head = (await served.tailrace.log.entry(execution_id)).head
    whole = "".join(pieces)
    for position in range(head):
        async with served.http.stream("GET", f"{path}?after={position}") as response:
            rest = await unnamed(response)
        assert whole.endswith(rest)
        assert len(rest) == len("".join(pieces[max(position - 2, 0) :]))
    gone = await served.http.get(path, headers={"Last-Event-ID": str(head)})
    assert gone.status_code == 204


async def test_how_it_ended_is_a_named_message(served: Served) -> None:
    execution_id = await run(served.tailrace, "fails")
    async with served.http.stream("GET", kind_path("agent", execution_id)) as response:
        frames = [frame async for frame in raw_messages(response)]
    assert [(m.event, m.data) for m in frames if m.event == "message"] == [("message", "so far")]
    assert frames[0].event == "stream.open"
    assert frames[-1].event == "execution.failed"
    assert json.loads(frames[-1].data)["data"]["error"]["message"] == "no more"


async def raw_messages(response: httpx.Response) -> AsyncIterator[sse.Message]:
    decoder = sse.Decoder()
    async for part in response.aiter_raw():
        for message in decoder.feed(part):
            yield message


@pytest.mark.parametrize(
    ("name", "kind", "query", "accept", "expected"),
    [
        ("speaks", "agent", "", "*/*", "text"),
        ("speaks", "agent", "?format=json", "*/*", "events"),
        ("speaks", "agent", "", "application/x-ndjson", "ndjson"),
        ("speaks", "agent", "", "text/plain", "plain"),
        ("structured", "agent", "", "*/*", "events"),
        ("structured", "agent", "?format=text", "*/*", "text"),
        ("returns", "task", "", "*/*", "text"),
        ("silent", "task", "", "*/*", "text"),
        ("wired", "workflow", "", "*/*", "events"),
        ("wired", "workflow", "?format=text", "text/plain", "plain"),
    ],
)
async def test_what_a_stream_is_follows_from_kind_schema_and_wish(
    served: Served, name: str, kind: str, query: str, accept: str, expected: str
) -> None:
    given = {"speaks": {"pieces": ["a", "b"]}, "wired": {"n": 1}}.get(name)
    execution_id = await run(served.tailrace, name, given)
    path = kind_path(kind, execution_id) + query
    async with served.http.stream("GET", path, headers={"Accept": accept}) as response:
        body = (await response.aread()).decode()
        media = response.headers["content-type"].partition(";")[0]
    if expected in ("events", "text"):
        assert media == "text/event-stream"
        assert ('"type":"execution.queued"' in body) == (expected == "events")
    else:
        assert media == {"ndjson": "application/x-ndjson", "plain": "text/plain"}[expected]


async def test_a_text_that_was_returned_is_a_text_too(served: Served) -> None:
    execution_id = await run(served.tailrace, "returns")
    path = kind_path("task", execution_id)
    plain = await served.http.get(path, headers={"Accept": "text/plain"})
    assert plain.text == "all at once"


@pytest.mark.parametrize("asked", ["workflow", "agent", "task"])
@pytest.mark.parametrize(
    ("name", "kind"), [("wired", "workflow"), ("structured", "agent"), ("silent", "task")]
)
async def test_the_wrong_kind_is_404_and_names_the_right_path(
    served: Served, asked: str, name: str, kind: str
) -> None:
    execution_id = await run(served.tailrace, name, {"n": 1} if name == "wired" else None)
    response = await served.http.get(kind_path(asked, execution_id))
    if asked == kind:
        assert response.status_code == 200
    else:
        assert response.status_code == 404
        assert response.json()["code"] == "wrong_kind"
        assert kind_path(kind, execution_id) in response.json()["hint"]


@pytest.mark.parametrize(
    "query", ["?format=xml", "?format=text&events=log.line", "?compact=maybe", "?batch_ms=2001"]
)
async def test_what_cannot_be_is_refused_before_the_first_byte(served: Served, query: str) -> None:
    execution_id = await run(served.tailrace, "silent")
    response = await served.http.get(f"{BASE}/{execution_id}/stream{query}")
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")


async def test_the_client_compacts_what_has_ended_and_may_change_its_mind(
    serve: Serve,
) -> None:
    async with serve(flows=[speaks]) as made, Client(made.url) as client:
        pieces = [f"{n} " for n in range(2000)]
        execution_id = await run(made.tailrace, "speaks", {"pieces": pieces})
        compacted = [event async for event in client.follow(execution_id)]
        every = [event async for event in client.follow(execution_id, compact=False)]
        assert len(compacted) < 20
        assert [event.id for event in every] == list(range(1, len(every) + 1))
        for events in (compacted, every):
            assert "".join(e.data["text"] for e in events if e.type == "llm.chunk") == "".join(
                pieces
            )
        follow = client.follow(execution_id)
        first = [await anext(follow) for _ in range(3)]
        await follow.aclose()
        rest = [e async for e in client.follow(execution_id, follow.position, compact=False)]
        ids = [event.id for event in every if (event.id or 0) > (first[-1].id or 0)]
        assert [event.id for event in rest] == ids


# --- the same, as rules -------------------------------------------------------------------------

PIECES = st.lists(
    st.text(alphabet=st.sampled_from("ab \r\n\u2028😀\ud83d\ude00é:"), max_size=5), max_size=12
)


@given(PIECES)
def test_pieces_joined_are_the_text(pieces: list[str]) -> None:
    made = Pieces(Redactor())
    passed = [part for piece in pieces if (part := made.feed(piece))] + [made.end()]
    assert "".join(passed) == produced(pieces)
    # A CRLF in two pieces would be two line breaks in SSE.
    assert not any(a.endswith("\r") and b.startswith("\n") for a, b in pairwise(passed))


@given(
    st.lists(st.tuples(st.sampled_from("abn"), st.text("xy\r\n ", max_size=3)), max_size=30),
    st.lists(st.integers(1, 5), max_size=10),
)
def test_compaction_changes_no_text_and_every_id_it_serves_resumes(
    said: list[tuple[str, str]], cuts: list[int]
) -> None:
    records = [
        Record(seq, type_, Draft(type=type_, ts="t", data=data, node=node).encode("X"))
        for seq, (node, text) in enumerate(said, start=1)
        for type_, data in [
            ("log.line", {"line": text, "source": "s"})
            if node == "n"
            else ("llm.chunk", {"text": text, "offset": 0})
        ]
    ]

    def texts(found: list[Record]) -> list[tuple[object, str]]:
        told = [record.event() for record in found]
        return [(e.node, str(e.data.get("text", e.data.get("line")))) for e in told]

    def spoken(pairs: list[tuple[object, str]], speaker: str) -> str:
        return "".join(text for who, text in pairs if who == speaker)

    position, got = 0, []
    for size in [*cuts, 1000]:
        served = compact(records[position:])[:size]  # a reader that leaves after so many
        got += served
        position = served[-1].seq if served else position
    for who in "abn":
        assert spoken(texts(got), who) == spoken(texts(records), who)
    assert [r.seq for r in got] == sorted({r.seq for r in got})


def test_text_faces_say_only_text() -> None:
    records = [
        Record(1, "log.line", Draft(type="log.line", ts="t", data={"line": "no"}).encode("X")),
        Record(2, "llm.chunk", Draft(type="llm.chunk", ts="t", data={"text": "a"}).encode("X")),
        Record(3, "llm.chunk", Draft(type="llm.chunk", ts="t", data={"text": "b"}).encode("X")),
    ]
    wanted = Filter(types=("llm.chunk",))
    assert writer(TEXT, wanted)(Batch(records)) == b"id: 3\ndata: ab\n\n"
    assert writer(TEXT_PLAIN, wanted)(Batch(records)) == b"ab"
    assert writer(TEXT, wanted)(Batch(records[:1])) == b"id: 1\n\n"


async def test_a_text_says_where_it_begins_anew(served: Served) -> None:
    """A worker died: the next attempt says it all again, after the word that it begins."""
    log = served.tailrace.log
    await begin(log)
    for attempt in (1, 2):
        said = [
            Draft(type="llm.chunk", ts=TS, data={"text": text}, attempt=attempt)
            for text in ("he", "y")
        ]
        await log.append("X1", [started(attempt), *said], attempt=attempt)
    await log.append("X1", [ended()])
    answer = await served.http.get(f"{kind_path('task', 'X1')}?format=text")
    frames = [message for message in sse.Decoder().feed(answer.content) if message.id]
    assert [(frame.event, frame.id) for frame in frames] == [
        ("execution.started", "2"),
        ("message", "4"),
        ("execution.started", "5"),
        ("message", "7"),
        ("execution.completed", "8"),
    ]
    assert json.loads(frames[2].data)["attempt"] == 2
    resumed = await served.http.get(
        f"{kind_path('task', 'X1')}?format=text", headers={"last-event-id": "4"}
    )
    assert [m.event for m in sse.Decoder().feed(resumed.content)][1:3] == [
        "execution.started",
        "message",
    ]


async def test_a_result_is_the_output_and_the_text_stays_what_was_said(serve: Serve) -> None:
    @agent
    async def both() -> AsyncIterator[object]:
        yield "thinking"
        yield Result("the answer")

    async with serve(flows=[both]) as made:
        execution_id = await run(made.tailrace, "both")
        path = kind_path("agent", execution_id)
        plain = await made.http.get(f"{path}?format=text", headers={"Accept": "text/plain"})
        assert plain.text == "thinking"
