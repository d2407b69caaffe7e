"""Flows for the tests of the list, the start form, the inspector and the scrubber.

What they do is decided by their input, and by nothing else.
"""

import logging
from datetime import datetime
from enum import Enum
from typing import Annotated, Any

import anyio
from pydantic import BaseModel, Field

from tailrace import flow, node, progress, task


class Colour(Enum):
    """What it is painted in."""

    RED = "red"
    GREEN = "green"
    BLUE = "blue"


class Part(BaseModel):
    """One part of a shape."""

    name: str = Field(min_length=1, description="As it is called in the drawing.")
    width: Annotated[int, Field(ge=1, le=500)] = 10
    note: str | None = None


@node
async def draw(parts: list[Part], given: dict[str, Any]) -> dict[str, Any]:
    """Put the parts together."""
    return {"parts": [part.model_dump() for part in parts], "given": given}


@node
async def gather(
    title: str,
    scale: float,
    copies: int,
    colour: Colour,
    glossy: bool,
    due: datetime | None,
    tags: list[str],
    api_key: str,
) -> dict[str, Any]:
    """Everything that is no part."""
    return {
        "title": title,
        "scale": scale,
        "copies": copies,
        "colour": colour.value,
        "glossy": glossy,
        "due": due and due.isoformat(),
        "tags": tags,
        "key": len(api_key),
    }


@flow
def shape(
    title: Annotated[str, Field(min_length=2, pattern="^[A-Z]", description="Shown above it.")],
    parts: list[Part],
    scale: Annotated[float, Field(gt=0, le=4)] = 1.0,
    copies: Annotated[int, Field(ge=1)] = 1,
    colour: Colour = Colour.RED,
    glossy: bool = False,
    due: datetime | None = None,
    tags: list[str] = [],  # noqa: B006 - a default of the input, never changed
    api_key: str = "",
) -> object:
    """Draw a shape: an input of every kind."""
    return draw(parts, gather(title, scale, copies, colour, glossy, due, tags, api_key))


@task
async def percent(
    until: float = 1.0, message: str = "halfway", hold: bool = True
) -> dict[str, int]:
    """Say how far it is, and stay there until it is stopped."""
    progress(until, message)
    if hold:
        await anyio.sleep_forever()
    return {"percent": int(until * 100)}


@node
async def begin(size: int) -> dict[str, Any]:
    """A value that may be too large for its event."""
    logging.getLogger("shapes").info("begin with %d", size)
    return {"size": size, "text": "x" * size, "deep": {"list": [1, {"needle": True}, None]}}


tries = 0


@node(effects="read_only", attempts=3, retry_delay_ms=40)
async def shaky(value: dict[str, Any], fail: bool) -> int:
    """Fails twice; then, if it shall, for good."""
    global tries
    tries += 1
    if tries % 3 or fail:
        raise ConnectionError(f"try {(tries - 1) % 3 + 1} of 3\nthe peer closed the connection")
    return len(value["text"])


@flow
def trial(size: int = 3, fail: bool = False) -> object:
    """Something that is tried again."""
    return shaky(begin(size), fail)
