"""Several machines, played by processes of this one: servers and workers are killed at random."""

import re

import pytest

from tests.conftest import needs
from tests.e2e.conftest import Shell


@pytest.mark.timeout(60)  # it waits for a lease, after it has started six processes
def test_the_demo_survives_what_it_kills(shell: Shell) -> None:
    needs("redis-server")
    done = shell.start("demo", "--cluster")
    out, err = done.communicate(timeout=55)
    assert done.returncode == 0, out + err
    table = dict(re.findall(r"^[✓✗]  (.*?)  +(\S.*?) *$", out, re.MULTILINE))
    assert table["lost"] == table["given twice"] == "0", out
    assert table["terminal events"] == "1"
