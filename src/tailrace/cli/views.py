"""How an execution's events are shown in a terminal and in a pipe.

The law of this file: a view is fed events and knows nothing of where they come from.
"""

import json
from collections.abc import Callable
from typing import Protocol

from rich.live import Live

from tailrace.cli import render
from tailrace.clock import SystemClock
from tailrace.events import Event
from tailrace.lifecycle import ExecutionState

REDRAWS_A_SECOND = 10


class View(Protocol):
    """Shows an execution's events as they come."""

    def show(self, event: Event) -> None:
        """Take the next event."""
        ...

    def __enter__(self) -> "View": ...

    def __exit__(self, *_: object) -> None: ...


class LineView:
    """One event a line, as `write` prints it."""

    def __init__(self, write: Callable[[Event], None]) -> None:
        self._write = write

    def show(self, event: Event) -> None:
        """Print it."""
        self._write(event)

    def __enter__(self) -> "View":
        return self

    def __exit__(self, *_: object) -> None:
        return None


class TreeView:
    """The nodes as a tree that lights up; where there is no terminal, the tree at the end."""

    def __init__(self) -> None:
        self.state = ExecutionState()
        self.console = render.console()
        self.live: Live | None = None

    def show(self, event: Event) -> None:
        """Fold it; the next redraw shows it."""
        if event.id is not None:
            self.state.apply(event)
        elif event.type == "stream.gap":
            self.state.partial = True

    def __enter__(self) -> "View":
        if self.console.is_terminal:
            now = SystemClock().now
            self.live = Live(
                console=self.console,
                refresh_per_second=REDRAWS_A_SECOND,
                get_renderable=lambda: render.tree(self.state, now()),
            )
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            self.live.stop()
        else:
            self.console.print(render.tree(self.state))
        if self.state.status == "completed" and self.state.output is not None:
            print(json.dumps(self.state.output, ensure_ascii=False, indent=2))


def view_for(*, as_json: bool, stream: bool, raw: bool = False, many: bool = False) -> View:
    """The view that the flags ask for."""
    if as_json:
        return LineView(
            lambda event: print(json.dumps(event.to_dict(), ensure_ascii=False), flush=True)
        )
    if raw:
        return LineView(_raw)
    if stream:
        console = render.console()
        return LineView(lambda event: console.print(render.line(event, many=many)))
    return TreeView()


def _raw(event: Event) -> None:
    """What was said, and nothing else: for pipes."""
    if event.type == "log.line":
        print(event.data.get("line", ""), flush=True)
    elif event.type == "llm.chunk":
        print(event.data.get("text", ""), end="", flush=True)


def print_summary(state: ExecutionState) -> None:
    """An execution that nobody waits for: its tree and how it ended."""
    console = render.console()
    console.print(render.tree(state))
    if state.error:
        print(f"{state.error.get('type')}: {state.error.get('message')}")
    if state.output is not None:
        print(json.dumps(state.output, ensure_ascii=False, indent=2))
