"""Commands that share nothing but a Redis server."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Shell
from tests.servers import PASSWORD, RedisServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    folder = tmp_path / "redis"
    folder.mkdir()
    made = RedisServer(folder, "--appendonly", "yes", "--appendfsync", "always")
    yield made
    made.kill()


@pytest.fixture
def on_redis(shell: Shell, server: RedisServer) -> Shell:
    shell.env["TAILRACE_STORE"] = server.url()
    return shell


def test_what_one_process_writes_another_follows(on_redis: Shell) -> None:
    script = "mkfifo go; for n in 1 2 3; do echo line $n; done; read x < go; echo line 4"
    writer = on_redis.start("exec", "--", "sh", "-c", script)
    execution_id = on_redis.started_id(writer)
    tail = on_redis.start("tail", execution_id, "--json")
    assert tail.stdout is not None
    said = []
    for text in tail.stdout:
        event = json.loads(text)
        said.append(event)
        if event["data"].get("line") == "line 3":
            (on_redis.folder / "go").write_text("on\n")  # it was followed while it ran
    assert [e["data"]["line"] for e in said if e["type"] == "log.line"] == [
        f"line {n}" for n in range(1, 5)
    ]
    assert said[-1]["type"] == "execution.completed"
    assert [e["id"] for e in said if "id" in e] == list(range(1, len(said) + 1))
    assert writer.wait() == 0
    listed = on_redis.run("ls", "--json")
    assert json.loads(listed.stdout)["status"] == "completed"


def test_a_server_on_it_survives_its_restart_and_says_no_password(
    on_redis: Shell, server: RedisServer
) -> None:
    process, url = on_redis.serve()
    script = "mkfifo go; echo before; read x < go; echo after"
    writer = on_redis.start("exec", "--", "sh", "-c", script)
    execution_id = on_redis.started_id(writer)
    tail = on_redis.start("tail", execution_id, "--json", "--url", url)
    assert tail.stdout is not None
    said = []
    for text in tail.stdout:
        event = json.loads(text)
        said.append(event["data"].get("line"))
        if said[-1] == "before":
            server.kill()
            (on_redis.folder / "go").write_text("on\n")
            server.start()
    assert [line for line in said if line] == ["before", "after"]
    assert tail.wait() == 0
    assert writer.wait() == 0
    process.terminate()
    _, errors = process.communicate()
    assert PASSWORD not in errors
