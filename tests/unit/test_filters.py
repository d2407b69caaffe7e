"""What a watcher chooses: it gets that, once and in order, whatever it chooses next."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace import sse
from tailrace.batch import Batch
from tailrace.errors import InvalidRequest
from tailrace.events import Draft, Record
from tailrace.filters import Filter, parse
from tailrace.http.faces import EVENTS, EVENTS_NDJSON, FORMS_MAX, writer


def record(seq: int, type_: str, node: str | None = None, level: str | None = None) -> Record:
    data = {"line": "x", "source": "s"} | ({"level": level} if level else {})
    return Record(seq, type_, Draft(type=type_, ts="t", data=data, node=node).encode("X1"))


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        ({"events": ["node.*"]}, [2, 3, 6]),
        ({"events": ["node.started,log.line"]}, [2, 4, 5, 6]),
        ({"events": ["log.*", "custom.*"]}, [4, 5, 6]),
        ({"nodes": ["a"]}, [2, 4, 6]),
        ({"nodes": ["a,b"]}, [2, 3, 4, 6]),
        ({"level": "warning"}, [1, 2, 3, 5, 6]),
        ({"level": "warning", "events": ["log.line"]}, [5, 6]),
        ({"events": ["custom.mine"]}, [6]),
    ],
)
def test_a_filter_chooses(asked: dict[str, list[str] | str], chosen: list[int]) -> None:
    records = [
        record(1, "execution.started"),
        record(2, "node.started", "a"),
        record(3, "node.completed", "b"),
        record(4, "log.line", "a", "info"),
        record(5, "log.line", None, "error"),
        record(6, "execution.completed"),  # a stream must say its end
    ]
    wanted = parse(asked.get("events", []), asked.get("nodes", []), asked.get("level"))  # type: ignore[arg-type]
    assert wanted is not None
    assert [r.seq for r in records if wanted.chooses(r)] == chosen


def test_levels_are_known_by_the_names_that_others_give_them() -> None:
    names = ["trace", "warn", "critical", "fatal", "what", "error"]
    wanted = parse(["log.line"], [], "error")
    assert wanted is not None
    chosen = [name for name in names if wanted.chooses(record(1, "log.line", level=name))]
    assert chosen == ["critical", "fatal", "error"]


def test_asking_for_everything_is_no_filter() -> None:
    assert parse([], [], None) is None
    assert parse([""], [""], None) is None


@pytest.mark.parametrize("name", ["nope", "node", "node.nope", "*", "nope.*", "custom.", "custom"])
def test_a_name_that_no_event_has_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest):
        parse([f"log.line,{name}"], [], None)
    with pytest.raises(InvalidRequest):
        parse([], [], "loud")


TYPES = st.sampled_from(["node.started", "log.line", "llm.chunk", "custom.x"])
WANTED = st.builds(
    Filter,
    types=st.lists(st.sampled_from(["node.*", "log.line", "custom.*"]), min_size=1).map(tuple),
)


@given(
    batches=st.lists(st.lists(TYPES, min_size=1, max_size=6), max_size=8),
    wanted=st.lists(WANTED, min_size=8, max_size=8),
)
def test_the_position_moves_past_what_is_left_out(
    batches: Sequence[Sequence[str]], wanted: Sequence[Filter]
) -> None:
    """With another filter for each batch: what each chose of its own, and every id is passed."""
    decoder, seq = sse.Decoder(), 0
    for types, choice in zip(batches, wanted, strict=False):
        records = [record(seq + n, type_) for n, type_ in enumerate(types, start=1)]
        seq += len(records)
        messages = decoder.feed(writer(EVENTS, choice)(Batch(records)))
        assert [int(m.id) for m in messages] == [r.seq for r in records if choice.chooses(r)]
        assert decoder.last_event_id == str(seq)


def test_a_filtered_batch_is_written_once_for_all_who_choose_alike() -> None:
    batch = Batch([record(1, "log.line"), record(2, "node.started", "a")])
    one, two = Filter(types=("log.*",)), Filter(types=("log.*",))
    assert writer(EVENTS, one, chunked=True)(batch) is writer(EVENTS, two, chunked=True)(batch)
    assert writer(EVENTS, one, chunked=True)(batch).endswith(b"id: 2\n\n\r\n")


def test_nothing_chosen_of_lines_writes_nothing_and_ends_nothing() -> None:
    batch = Batch([record(1, "log.line")])
    nothing = Filter(types=("custom.x",))
    assert writer(EVENTS_NDJSON, nothing, chunked=True)(batch) == b""  # not an empty, last chunk


def test_what_a_batch_keeps_for_filters_has_a_bound() -> None:
    """Found by reading: each search that anybody made left its page in memory, for all of them."""
    batch = Batch([record(n, "log.line", node="n") for n in range(1, 50)])
    for number in range(10 * FORMS_MAX):
        assert writer(EVENTS, Filter(nodes=frozenset({"n", str(number)})))(batch) == batch.sse
    assert len(batch.forms) <= FORMS_MAX
