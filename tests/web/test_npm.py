"""What TypeScript's own tools say: types, and the tests of the client, the fold and the hub."""

import json
import runpy
import subprocess
from pathlib import Path

import pytest

from tests.conftest import needs

WEB = Path(__file__).parents[2] / "web"


@pytest.fixture(scope="module")
def installed() -> None:
    needs("node", "npm")
    runpy.run_path(str(WEB / "build.py"))["install"]()


def npm(*arguments: str) -> str:
    done = subprocess.run(
        ["npm", *arguments], check=False, capture_output=True, text=True, cwd=WEB, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(120)  # npm ci, where nothing is installed yet
def test_the_client_the_fold_and_the_hub(installed: None) -> None:
    npm("run", "types")
    told = npm("test", "--", "--reporter=json", "--silent")
    report = json.loads(told[told.index("{\n" if "{\n" in told else '{"') :])
    assert report["success"]
    assert report["numPassedTests"] > 100


def test_the_client_can_be_published_and_imported(installed: None, tmp_path: Path) -> None:
    """As its users get it: compiled, with types, and without dependencies."""
    npm("pack", "--workspace", "client", "--pack-destination", str(tmp_path))
    (packed,) = tmp_path.glob("*.tgz")
    subprocess.run(["tar", "xzf", packed, "-C", tmp_path], check=True)
    package = json.loads((tmp_path / "package/package.json").read_text())
    assert not package.get("dependencies")
    assert (tmp_path / "package/dist/index.d.ts").is_file()
    script = "import('./package/dist/index.js').then((m) => console.log(typeof m.follow, m.fold([]).status))"
    told = subprocess.run(
        ["node", "-e", script], check=True, capture_output=True, text=True, cwd=tmp_path
    )
    assert told.stdout.split() == ["function", "new"]
