"""Errors, settings, and how things are shown to people."""

import re
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from tailrace import errors
from tailrace.cli import render
from tailrace.errors import InvalidSetting, TailraceError, all_errors, from_code
from tailrace.events import CATALOG, Event
from tailrace.lifecycle import ExecutionState, fold
from tailrace.settings import Settings, environment_name, from_environment, load, shown, sqlite_path


def test_the_drawn_tree_is_the_real_one() -> None:
    tree = (errors.__doc__ or "").partition("    TailraceError")
    drawn = set(re.findall(r"\b[A-Z]\w+", "".join(tree[1:])))
    assert drawn == {error.__name__ for error in all_errors()}


@pytest.mark.parametrize("error", list(all_errors()))
def test_every_error_has_a_message_a_code_and_a_status(error: type[TailraceError]) -> None:
    assert error().message.endswith(".")
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", error.code)
    assert 400 <= error.status < 600
    assert str(error("told", hint="do this", extra=1)) == "told"


@pytest.mark.parametrize("error", list(all_errors()))
def test_an_error_is_rebuilt_from_its_code(error: type[TailraceError]) -> None:
    made = from_code(error.code, "message", "hint")
    assert (type(made), made.message, made.hint) == (error, "message", "hint")


def test_an_unknown_code_is_a_remote_error() -> None:
    made = from_code("from_the_future", "message")
    assert type(made) is errors.RemoteError
    assert "from_the_future" in made.message


def test_settings_come_from_strings() -> None:
    made = load({"port": "9000", "heartbeat_s": "0.5", "store": "memory:"})
    assert (made.port, made.heartbeat_s, made.store) == (9000, 0.5, "memory:")


@pytest.mark.parametrize(
    "values",
    [{"port": "x"}, {"port": 70000}, {"heartbeat_s": 0}, {"durability": "none"}, {"nope": 1}],
)
def test_a_bad_setting_is_named(values: dict[str, object]) -> None:
    with pytest.raises(InvalidSetting, match=next(iter(values))):
        load(values)


def test_the_environment_names_are_the_fields() -> None:
    assert environment_name("drain_s") == "TAILRACE_DRAIN_S"
    environ = {"TAILRACE_DRAIN_S": "3", "TAILRACE_NOPE": "1", "PATH": "/bin"}
    assert from_environment(environ) == {"drain_s": "3"}


def test_every_setting_is_explained_with_its_unit() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        if field.annotation in (int, float) and not name.endswith("port"):
            if name in ("workers", "concurrency"):
                continue  # what they count is their name
            units = ("_s", "_ms", "_bytes", "_events", "_items", "_max", "_replicas")
            assert name.endswith(units), name


def test_a_stores_url_is_shown_without_its_password() -> None:
    assert shown("redis://:p@ss@h:1/2?prefix=x") == "redis://h:1/2"
    assert shown("rediss://user:secret@h") == "rediss://h"
    assert shown("redis://h?password=secret") == "redis://h"
    assert shown("sqlite:////a/b@c.db") == "sqlite:////a/b@c.db"
    assert shown("memory:") == "memory:"


def test_settings_cannot_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().port = 1  # type: ignore[misc]


def test_store_urls_name_files() -> None:
    assert sqlite_path("sqlite:///a/b.db") == Path("a/b.db")
    assert sqlite_path("sqlite:////a/b.db") == Path("/a/b.db")
    assert sqlite_path("sqlite:///~/b.db") == Path.home() / "b.db"
    for bad in ("sqlite:a", "sqlite:///", "postgres:///a"):
        with pytest.raises(InvalidSetting):
            sqlite_path(bad)


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (None, ""),
        (0, "0 ms"),
        (999, "999 ms"),
        (1000, "1.0 s"),
        (59_940, "59.9 s"),
        (61_000, "1 min 1 s"),
    ],
)
def test_durations_read_well(milliseconds: int | None, text: str) -> None:
    assert render.duration(milliseconds) == text


def test_long_values_are_cut() -> None:
    assert render.short({"a": 1}) == '{"a": 1}'
    assert len(render.short("x" * 500)) == render.PREVIEW
    assert render.short("x" * 500).endswith("…")


@pytest.mark.parametrize("name", sorted(CATALOG))
def test_every_event_is_one_line_with_its_type(name: str) -> None:
    data = {"error": {"type": "E", "message": "m"}, "line": "said", "source": "stdout"}
    text = render.line(Event(id=7, type=name, ts="2026-01-01T10:20:30.123456Z", data=data)).plain
    assert "\n" not in text
    assert text.startswith("10:20:30.123     #7 ")
    assert ("said" if name == "log.line" else name) in text


def show(state: ExecutionState) -> str:
    console = Console(width=100, record=True, file=StringIO())
    console.print(render.tree(state))
    return console.export_text()


def test_the_tree_has_signs_and_words_for_every_state() -> None:
    graph = {
        "capture": "c",
        "nodes": [{"id": "trigger"}, {"id": "a"}, {"id": "b"}, {"id": "c", "streaming": True}],
        "edges": [
            {"from": "trigger", "to": "a"},
            {"from": "a", "to": "b"},
            {"from": "a", "to": "c"},
        ],
    }
    steps: list[tuple[str, str | None, dict[str, object]]] = [
        ("execution.queued", None, {"flow": "f", "graph": graph}),
        ("execution.started", None, {}),
        ("node.started", "a", {}),
        ("node.completed", "a", {"duration_ms": 5}),
        ("node.started", "c", {}),
        ("output.item", "c", {"index": 0}),
        ("node.failed", "c", {"error": {"type": "E", "message": "m"}, "duration_ms": 2}),
        ("node.started", "learned", {}),
        (
            "execution.failed",
            None,
            {"error": {"type": "E", "message": "m"}, "total_duration_ms": 9},
        ),
    ]
    text = show(fold([Event(id=n, type=t, node=o, data=d) for n, (t, o, d) in enumerate(steps, 1)]))
    assert "✗ f  failed  9 ms" in text
    assert "✓ a  5 ms" in text
    assert "· b" in text
    assert "✗ c  2 ms  1 items  E: m" in text
    assert "● learned" in text
    assert text.index("✓ a") < text.index("· b")
