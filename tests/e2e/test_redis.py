"""Commands that share nothing but a Redis server."""

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import Shell, ending, heard, start_flow, stream_url, until
from tests.servers import PASSWORD, RedisServer, free_port


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


def test_a_stream_goes_on_at_another_server(on_redis: Shell) -> None:
    """What begins at one of two servers resumes at the other, and back, while it grows."""
    urls = [on_redis.serve()[1] for _ in range(2)]
    # A pipe for each step: one that is opened again may still have its last writer.
    script = "mkfifo go1 go2 go3 go4; for n in 1 2 3 4; do echo line $n; read x < go$n; done"
    writer = on_redis.start("exec", "--", "sh", "-c", script)
    execution_id = on_redis.started_id(writer)
    said: list[str] = []
    ids: list[int] = []
    for turn in range(5):
        headers = {"Last-Event-ID": str(ids[-1])} if ids else {}
        url = stream_url(urls[turn % 2], execution_id)
        with httpx.stream("GET", url, headers=headers, timeout=15) as stream:
            for text in stream.iter_lines():
                name, _, value = text.partition(": ")
                if name == "id":
                    ids.append(int(value))
                found = re.search(r'"line":"(line \d)"', text)
                if found:
                    said.append(found[1])
                    break  # the line's id came before it: the next connection resumes there
        if turn < 4:
            (on_redis.folder / f"go{turn + 1}").write_text("on\n")
    assert said == ["line 1", "line 2", "line 3", "line 4"]
    assert ids == list(range(1, ids[-1] + 1))
    assert writer.wait() == 0


def test_a_worker_says_how_it_is_on_a_port_of_its_own(on_redis: Shell) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    worker = on_redis.start("worker", "etl", "--worker-port", str(port), "--lease-s", "1")
    assert worker.stderr is not None
    told = [worker.stderr.readline() for _ in range(2)]
    assert told[1] == f"tailrace worker: {url}/metrics\n"
    _, server = on_redis.serve("etl", "--queue", "store")
    with httpx.Client() as http:
        started = http.post(
            f"{server}/api/v1/workspaces/default/executions", json={"flow": "etl", "input": {}}
        )
        followed = http.get(stream_url(server, started.json()["execution_id"]))
        assert "execution.completed" in followed.text
        until(lambda: 'tailrace_jobs_total{outcome="done"} 1.0' in http.get(f"{url}/metrics").text)
        until(lambda: 'queue_jobs{queue="default"} 0.0' in http.get(f"{url}/metrics").text)
        for path in ("/healthz", "/readyz"):
            assert http.get(url + path).status_code == 200
        assert http.get(f"{url}/api/v1/workspaces/default/executions").status_code == 404
    taken = on_redis.run("worker", "etl", "--worker-port", str(port))
    assert taken.returncode == 1
    assert "error[address_unavailable]" in taken.stderr
    worker.send_signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert worker.stderr.read() == "tailrace worker: draining; once more to leave at once\n"


BLOCKS = """
import time
from pathlib import Path
from tailrace import flow, log, node

@node
def blocks(until: str) -> str:
    log("blocks")
    while not Path(until).exists():
        time.sleep(0.02)
    return "done"

@flow
def block(until: str) -> object:
    return blocks(until)
"""


@pytest.mark.timeout(40)  # a worker gives what it cancelled two seconds
def test_a_worker_ends_although_a_thread_does_not(on_redis: Shell) -> None:
    """What ran in it is another's, and nobody has died."""
    (on_redis.folder / "blocks.py").write_text(BLOCKS)
    gate = on_redis.folder / "gate"
    leaving = on_redis.start("worker", "blocks.py", "--drain-s", "0.1")
    _, server = on_redis.serve("blocks.py", "--queue", "store")
    execution_id = start_flow(server, "block", until=str(gate))
    watcher = on_redis.watch(stream_url(server, execution_id))
    heard(watcher.stdout, "event: log.line\n")
    with ending(leaving.pid):
        leaving.send_signal(signal.SIGTERM)
    assert leaving.wait() == 0
    on_redis.start("worker", "blocks.py")
    heard(watcher.stdout, "event: log.line\n")
    gate.write_text("")
    rest = heard(watcher.stdout, "event: execution.completed\n")
    assert "event: warning" not in rest
