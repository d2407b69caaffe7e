"""How an execution's events are shown in a terminal and in a pipe.

The law of this file: a view is fed events and knows nothing of where they come from.
"""

import json
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from tailrace.cli import render
from tailrace.cli.options import print_json
from tailrace.clock import SystemClock
from tailrace.events import Event
from tailrace.lifecycle import ExecutionState

REDRAWS_A_SECOND = 10
SPEAKERS = ("agent", "task")  # whose text is what they are run for
TEXT_MAX_CHARS = 1_000_000  # of a text that is shown at the end; of a longer one its end is
LIVE_CHARS, LIVE_LINES = 2000, 10  # of it below the tree, while it grows


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
    """The nodes as a tree that lights up, and what an agent says; without a terminal, at the end."""

    def __init__(self) -> None:
        self.state = ExecutionState()
        self.console = render.console()
        self.live: Live | None = None
        self._text = deque[str]()
        self._text_chars = 0

    def show(self, event: Event) -> None:
        """Fold it; the next redraw shows it."""
        if event.id is not None:
            self.state.apply(event)
        elif event.type == "stream.gap":
            self.state.partial = True
        if event.type == "llm.chunk" and self.state.kind in SPEAKERS:
            self._text.append(str(event.data.get("text", "")))
            self._text_chars += len(self._text[-1])
            while self._text_chars > TEXT_MAX_CHARS:
                self._text_chars -= len(self._text.popleft())

    def _drawn(self, now: datetime) -> RenderableType:
        """The tree, and below it how the text ends by now."""
        newest, chars = deque[str](), 0
        for piece in reversed(self._text):
            newest.appendleft(piece)
            if (chars := chars + len(piece)) > LIVE_CHARS:
                break
        lines = "".join(newest)[-LIVE_CHARS:].splitlines()[-LIVE_LINES:]
        return Group(render.tree(self.state, now), Text.from_ansi("\n".join(lines)))

    def __enter__(self) -> "View":
        if self.console.is_terminal:
            now = SystemClock().now
            self.live = Live(
                console=self.console,
                refresh_per_second=REDRAWS_A_SECOND,
                get_renderable=lambda: self._drawn(now()),
                transient=True,
            )
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            self.live.stop()
        self.console.print(render.tree(self.state))
        if self._text:
            self.console.print(Text.from_ansi("".join(self._text).removesuffix("\n")))
        if self.state.status == "completed" and self.state.output is not None:
            print(json.dumps(self.state.output, ensure_ascii=False, indent=2))


def view_for(*, as_json: bool, stream: bool, raw: bool = False, many: bool = False) -> View:
    """The view that the flags ask for."""
    if as_json:
        return LineView(lambda event: print_json(event.to_dict()))
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
