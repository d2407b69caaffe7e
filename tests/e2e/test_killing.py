"""Several machines, played by processes of this one: servers and workers are killed at random."""

import re
from pathlib import Path

import pytest

from tests.conftest import needs
from tests.e2e.chaos import Chaos
from tests.e2e.conftest import Shell


def test_the_demo_survives_what_it_kills(shell: Shell) -> None:
    needs("redis-server")
    done = shell.start("demo", "--cluster")
    out, err = done.communicate(timeout=55)
    assert done.returncode == 0, out + err
    table = dict(re.findall(r"^[✓✗]  (.*?)  +(\S.*?) *$", out, re.MULTILINE))
    assert table["lost"] == table["given twice"] == "0", out
    assert table["terminal events"] == "1"


@pytest.mark.timeout(
    120
)  # a few seconds of kills, and leases after them; 60 s of it: tests.e2e.chaos
def test_executions_end_once_however_workers_are_killed(tmp_path: Path) -> None:
    needs("redis-server")
    (tmp_path / "redis").mkdir()
    chaos = Chaos(tmp_path, seed=7)
    try:
        result = chaos.run(executions=60, seconds=8)
    finally:
        chaos.end()
    assert (result.statuses, result.ends) == ({"completed": 60}, {1: 60})
    assert result.kills
    assert max(result.attempts) > 1
    assert (result.keyed_missing, result.keyed_twice) == (0, 0)
    assert result.unkeyed_more_than_attempts == 0
