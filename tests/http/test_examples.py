"""The scripts among the examples, run as their readers would."""

import importlib.util
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from tailrace import Tailrace
from tailrace.cli.targets import load_flow
from tests.http.conftest import Serve

SCRIPTS = Path(__file__).parents[2] / "examples" / "scripts"


@pytest.fixture(autouse=True)
def blockbuster() -> None:
    """These tests load files."""


def script(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"script_{name}", SCRIPTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def test_in_process(capsys: pytest.CaptureFixture[str]) -> None:
    await script("in_process").main()
    said = capsys.readouterr().out
    assert "output: 0.25" in said
    assert "error: execution_failed" in said
    assert "node.progress" in said


async def test_follow(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    made = script("follow")
    async with serve(Tailrace("memory:", flows=[load_flow("etl")])) as served:
        await made.follow(served.url)
        await anyio.to_thread.run_sync(made.follow_without_a_loop, served.url)
    said = capsys.readouterr().out
    assert "execution.completed" in said
    assert said.strip().endswith("execution.failed")


async def test_log_broker(capsys: pytest.CaptureFixture[str]) -> None:
    await script("log_broker").main()
    said = capsys.readouterr().out
    assert said.splitlines() == [
        "live: compiling 1 of 3",
        "live: compiling 2 of 3",
        "live: compiling 3 of 3",
        "live: login with [redacted:secret]",
        "kept: 4 lines",
    ]
