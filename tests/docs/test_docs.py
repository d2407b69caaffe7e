"""Documents, schemas and examples say what the code does."""

import importlib.util
import inspect
import json
import re
import shlex
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
import rich_click as click
from starlette.types import ASGIApp

import tailrace
from tailrace import Event, Settings, errors, events
from tailrace.cli.main import cli
from tailrace.cli.targets import example_names, load_flow
from tailrace.flow.build import Flow
from tailrace.runtime import Runtime
from tailrace.workload import Command, command_work

ROOT = Path(__file__).parents[2]
PROSE = sorted(
    path for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")) if ".venv" not in path.parts
)
MEMORY = Settings(store="memory:")


@pytest.fixture(autouse=True)
def blockbuster() -> None:
    """These tests read files."""


def _generator() -> Any:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _schema(name: str) -> Any:
    body = json.loads((ROOT / "schemas" / name).read_text())
    validator = jsonschema.Draft202012Validator
    validator.check_schema(body)
    return validator(body)


def _blocks(language: str) -> Iterator[tuple[str, str]]:
    for path in PROSE:
        for number, found in enumerate(
            re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)
        ):
            yield f"{path.relative_to(ROOT)}#{number}", found


@pytest.mark.parametrize("path", _generator().documents(), ids=lambda path: path.name)
def test_a_generated_file_is_what_the_code_says(path: Path) -> None:
    assert path.read_text() == _generator().documents()[path](), "run `make docs`"


# --- schemas ----------------------------------------------------------------------------------


async def _everything(runtime: Runtime) -> AsyncIterator[Event]:
    for name, given in (
        ("etl", {}),
        ("etl", {"fail": True}),
        ("s2_site", {"site": "http://127.0.0.1:9/", "updates": 1, "every_ms": 10}),
        ("orders", {}),
        ("answer", {}),
        ("outline", {}),
    ):
        async for event in (await runtime.start(name, given)).follow():
            yield event
    queued = events.ExecutionQueued(kind="workload", flow="sh", workspace="default")
    script = ["sh", "-c", "echo a; echo b >&2; exit 3"]
    work = command_work(Command(argv=script, line_max_bytes=100))
    async for event in (await runtime.begin(queued, work)).follow():
        yield event


async def test_every_event_of_the_examples_fits_the_schema() -> None:
    schema, seen = _schema("events.schema.json"), set()
    flows = [load_flow(name) for name in example_names()]
    async with Runtime(MEMORY, flows=flows) as runtime:
        async for event in _everything(runtime):
            schema.validate(event.to_dict())
            seen.add(event.type)
    assert {"node.failed", "output.item", "log.line", "log.sealed", "execution.failed"} <= seen
    assert {"node.skipped", "llm.chunk", "tool.result", "custom.answer.given"} <= seen
    assert {"structured.delta", "tool.call"} <= seen


def test_the_schema_refuses_what_is_wrong() -> None:
    good = {"id": 1, "type": "llm.chunk", "ts": "2026-01-01T00:00:00.000000Z", "execution_id": "x"}
    schema = _schema("events.schema.json")
    schema.validate(good | {"data": {"text": "a", "offset": 0}})
    schema.validate(good | {"type": "not.invented.yet", "data": {"any": "thing"}})
    for wrong in ({"data": {"text": 1, "offset": 0}}, {"data": {"text": "a"}}, {"data": None}):
        with pytest.raises(jsonschema.ValidationError):
            schema.validate(good | wrong)


@pytest.mark.parametrize("name", [n for n in example_names() if isinstance(load_flow(n), Flow)])
def test_an_examples_ir_fits_its_schema(name: str) -> None:
    schema = _schema("flow-ir.schema.json")
    body = json.loads((ROOT / f"schemas/examples/{name}.json").read_text())
    schema.validate(body)
    with pytest.raises(jsonschema.ValidationError):
        schema.validate(body | {"nodes": "none"})


def test_json_in_the_documents_is_json_and_events_are_events() -> None:
    schema, found = _schema("events.schema.json"), 0
    for _, block in _blocks("json"):
        body = json.loads(block)
        schema.validate(body)
        found += 1
    assert found


# --- prose ------------------------------------------------------------------------------------


def _commands() -> Iterator[tuple[str, list[str]]]:
    """Each command line of the documents and of `--help`, without its pipes and redirections."""
    texts = {str(path.relative_to(ROOT)): path.read_text() for path in PROSE}
    texts |= {f"{name} --help": command.epilog or "" for name, command in cli.commands.items()}
    for place, text in texts.items():
        for line in re.findall(r"^ *(?:\.venv/bin/)?tailrace [a-z].*$", text, re.MULTILINE):
            yield place, shlex.split(re.split(r" [|>] ", line)[0], comments=True)[1:]


def test_every_command_in_the_documents_parses() -> None:
    """Names and flags exist; nothing is run."""
    found = 0
    for place, words in _commands():
        name, *arguments = words
        command = cli.commands.get(name)
        assert command is not None, f"{place}: there is no command {name!r}"
        try:
            command.make_context(name, arguments)
        except click.ClickException as error:
            pytest.fail(f"{place}: tailrace {' '.join(words)}: {error.message}")
        found += 1
    assert found > 20


def test_links_lead_somewhere() -> None:
    for path in PROSE:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text()):
            if "://" not in target:
                assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_makefile_verbs_in_the_documents_exist() -> None:
    verbs = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in PROSE:
        for verb in re.findall(r"^make (\w+)|`make (\w+)`", path.read_text(), re.MULTILINE):
            assert set(verb) - {""} <= verbs, f"{path.name}: make {verb}"


@pytest.mark.parametrize(("place", "code"), list(_blocks("python")))
async def test_python_in_the_documents_runs(
    place: str, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {"__name__": "document"}
    exec(compile(code, place, "exec"), names)
    if main := names.get("main"):
        await main()
        assert "execution.completed" in capsys.readouterr().out
    if app := names.get("app"):
        await _mounted(app, names["lifespan"])


async def _mounted(app: ASGIApp, lifespan: Any) -> None:
    transport = httpx.ASGITransport(app=app)
    async with lifespan(app), httpx.AsyncClient(transport=transport, base_url="http://t") as http:
        answer = await http.post(
            "/live/api/v1/workspaces/default/executions",
            json={"flow": "doubled", "input": {"n": 4}},
            headers={"Prefer": "wait=5"},
        )
        assert answer.json()["output"] == 8


# --- the public surface -----------------------------------------------------------------------


def test_public_names_are_sorted_and_documented() -> None:
    assert tailrace.__all__ == sorted(tailrace.__all__)
    for name in tailrace.__all__:
        value = getattr(tailrace, name)
        if inspect.isclass(value):
            assert inspect.getdoc(value), name
            for method, function in inspect.getmembers(value, inspect.isfunction):
                own = function.__module__.startswith("tailrace")
                if own and not method.startswith("_"):
                    assert inspect.getdoc(function), f"{name}.{method}"


def test_every_exported_name_has_an_example_that_is_run() -> None:
    """Flows run above, scripts in tests/http/test_examples.py, blocks of documents above."""
    shown = "\n".join(path.read_text() for path in ROOT.glob("examples/**/*.py"))
    shown += "\n".join(block for _, block in _blocks("python"))
    statements = re.findall(r"^from tailrace import (\([^)]*\)|[^\n]*)", shown, re.MULTILINE)
    imported = set(re.findall(r"\w+", " ".join(statements)))
    assert set(tailrace.__all__) <= imported


def test_every_error_says_what_to_do_or_needs_no_word() -> None:
    for error in errors.all_errors():
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", error.code)
        assert error().message, error.__name__
        assert 400 <= error.status < 600


def test_every_shipped_example_is_a_flow_with_a_docstring() -> None:
    for name in example_names():
        assert load_flow(name).name == name
        assert (ROOT / f"examples/{name}.py").read_text().startswith('"""')
