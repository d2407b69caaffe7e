"""`tailrace export` and `tailrace import`: an execution as a file.

The law of this file: bytes out, bytes in; what they mean is `tailrace.archive`'s.
"""

import sys
from pathlib import Path
from typing import BinaryIO

from tailrace import archive
from tailrace.errors import InvalidExport
from tailrace.log.base import Entry
from tailrace.runtime import Runtime
from tailrace.settings import Settings


async def write(settings: Settings, execution_id: str, out: BinaryIO) -> None:
    """Write an execution's file."""
    left: BrokenPipeError | None = None
    async with Runtime(settings) as runtime:
        try:
            async for line in archive.export(runtime.log, execution_id):
                out.write(line)
            out.flush()
        except BrokenPipeError as error:
            left = error  # raised in here it would come out as a task group's
    if left is not None:
        raise left


def read(name: str) -> archive.Archive:
    """Read a file, `-` for stdin. Raises InvalidExport."""
    try:
        if name == "-":
            return archive.parse(sys.stdin.buffer)
        with Path(name).open("rb") as lines:
            return archive.parse(lines)
    except OSError as error:
        raise InvalidExport(f"{name}: {error.strerror}") from None


async def put(settings: Settings, found: archive.Archive) -> Entry:
    """Put an execution into the store."""
    async with Runtime(settings) as runtime:
        return await archive.restore(runtime, found)
