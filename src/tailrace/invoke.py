"""One call of a function: awaited, in a worker thread, or in a process of its own.

The law of this file: whatever way it runs, a cancellation reaches it, and when this returns
nothing of it is left running. What comes out of it is an answer, an exception, or the cancellation
that reached it: nothing that ends more than itself.
"""

import asyncio
import importlib
import importlib.util
import inspect
import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_process


async def invoke(fn: Callable[..., Any], values: dict[str, Any], *, cpu: bool = False) -> Any:
    """Call a function with keyword arguments and return what it returns.

    A thread cannot be interrupted: a cancellation waits for it, or for its next `log`, `emit` or
    `progress`, which raise in it. A process is killed.
    """
    with contained():
        if inspect.iscoroutinefunction(fn):
            return await fn(**values)
        if cpu:
            place = _place(fn)
            return await anyio.to_process.run_sync(_in_process, place, values, cancellable=True)
        return await anyio.to_thread.run_sync(partial(fn, **values))


class contained:  # noqa: N801 - used as a function is, like contextlib's own
    """Let somebody's code end itself, and not the process, or what runs beside it.

    `sys.exit()` would end the event loop, and a cancellation of the code's own making, of a task
    that it waits for or of its own, would look as if somebody had stopped it. Both are its errors.

    (A class: it is in the way of each node, and a generator costs 2 µs more.)
    """

    __slots__ = ("_before", "_task")

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self._before = self._task.cancelling() if self._task else 0

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None or isinstance(error, Exception | KeyboardInterrupt | GeneratorExit):
            return
        if isinstance(error, asyncio.CancelledError) and _is_cancelled():
            return
        while self._task and self._task.cancelling() > self._before:
            self._task.uncancel()
        told = f"{type(error).__name__}: {error}".removesuffix(": ")
        raise RuntimeError(f"its code ended with {told}") from error


def _is_cancelled() -> bool:
    """Whether somebody has cancelled a scope that this runs in: who cancels us does it so."""
    return anyio.current_effective_deadline() == -math.inf


def _place(fn: Callable[..., Any]) -> tuple[str, str, str]:
    """Where another process finds a function: its module, the module's file, its name there."""
    module = sys.modules[fn.__module__]
    name = fn.__module__
    if name == "__main__" and (spec := getattr(module, "__spec__", None)) is not None:
        name = spec.name
    return name, str(getattr(module, "__file__", "")), fn.__qualname__


def _in_process(place: tuple[str, str, str], values: dict[str, Any]) -> Any:
    """In the other process: find the function, which its module knows as a node, and call it."""
    module_name, file, name = place
    try:
        found: Any = importlib.import_module(module_name)
    except ImportError:
        found = _load(module_name, file)
    for part in name.split("."):
        found = getattr(found, part)
    return getattr(found, "fn", found)(**values)


def _load(name: str, file: str) -> Any:
    """Load a module from its file: a flow's file need not be importable by a name."""
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{name} cannot be loaded from {file}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(Path(file).parent))
    spec.loader.exec_module(module)
    return module
