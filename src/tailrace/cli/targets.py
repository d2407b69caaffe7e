"""What a TARGET on the command line names.

    module:name     a flow in an importable module
    path.py:name    a flow in a file
    path.py         all flows in a file
    etl             a shipped example

The law of this file: loading a target runs that file, once, as Python would; nothing else is
searched or run.
"""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from tailrace.agent import Agent
from tailrace.errors import TailraceError, TargetNotFound
from tailrace.flow.build import Flow
from tailrace.startable import Startable


def examples_folder() -> Path:
    """Where the shipped examples are: in the wheel, or at the top of a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "examples"
    return installed if installed.is_dir() else package.parents[1] / "examples"


def example_names() -> list[str]:
    """The shipped examples that can be a TARGET."""
    return sorted(path.stem for path in examples_folder().glob("*.py"))


def load_flows(target: str) -> list[Startable]:
    """Load every flow that a target names. Raises TargetNotFound and InvalidFlow."""
    place, _, name = target.rpartition(":") if ":" in target else (target, "", "")
    module = _load(place)
    if name:
        found = getattr(module, name, None)
        if not isinstance(found, Flow | Agent):
            raise TargetNotFound(f"{place} has no flow {name!r}; it has {_names(module)}")
        return [found]
    flows = _flows(module)
    if not flows:
        raise TargetNotFound(
            f"{place} has no flow: nothing in it is made by @flow, @agent or @task"
        )
    return flows


def load_flow(target: str) -> Startable:
    """Load the one flow that a target names: where a file has several, the one of its name."""
    flows = load_flows(target)
    named = [flow for flow in flows if flow.name == Path(target).stem]
    if len(flows) > 1 and len(named) == 1:
        return named[0]
    if len(flows) > 1:
        names = ", ".join(f"{target}:{flow.name}" for flow in flows)
        raise TargetNotFound(f"{target} has several flows", hint=f"Name one: {names}")
    return flows[0]


def _flows(module: ModuleType) -> list[Startable]:
    return [value for value in vars(module).values() if isinstance(value, Flow | Agent)]


def _names(module: ModuleType) -> str:
    names = [name for name, value in vars(module).items() if isinstance(value, Flow | Agent)]
    return ", ".join(names) or "none"


def _load(place: str) -> ModuleType:
    if place.endswith(".py"):
        path = Path(place)
        if not path.is_file():
            raise TargetNotFound(f"There is no file {place}")
        return _load_file(path)
    example = examples_folder() / f"{place}.py"
    if place.isidentifier() and example.is_file():
        return _load_file(example)
    if str(Path.cwd()) not in sys.path:  # as `python -m` does
        sys.path.insert(0, str(Path.cwd()))
    shipped = ", ".join(example_names())
    unknown = TargetNotFound(f"{place!r} is no module, file or example ({shipped})")
    if not all(part.isidentifier() for part in place.split(".")):
        raise unknown
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name and place.split(".")[0] != error.name.split(".")[0]:
            raise _broken(place, error) from error
        raise unknown from None
    except TailraceError:
        raise
    except (Exception, SystemExit) as error:
        raise _broken(place, error) from error


def _load_file(path: Path) -> ModuleType:
    name = f"tailrace_target_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # annotations are looked up there
    if str(path.resolve().parent) not in sys.path:
        sys.path.insert(0, str(path.resolve().parent))  # as `python path.py` does
    try:
        spec.loader.exec_module(module)
    except TailraceError:
        raise
    except (Exception, SystemExit) as error:
        raise _broken(str(path), error) from error
    return module


def _broken(place: str, error: BaseException) -> TargetNotFound:
    return TargetNotFound(
        f"{place} cannot be loaded: {type(error).__name__}: {error}",
        hint="Run it with python to see where.",
    )
