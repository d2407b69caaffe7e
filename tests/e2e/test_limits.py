"""Places over real processes and real sockets: a network that is cut, a server that is killed."""

import ctypes
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import Shell, events, heard, start_flow, stream_url, until

SLOW = """
import anyio
from tailrace import flow, node, log

@node(effects="read_only")
async def waits(lines: int) -> int:
    for number in range(lines):
        log("x" * 10_000)
        if number % 100 == 0:
            await anyio.sleep(0)
    await anyio.sleep_forever()
    return 1

@flow
def slow(lines: int = 1) -> object:
    return waits(lines)
"""

linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own sight of dead peers")


@pytest.fixture
def target(shell: Shell) -> str:
    path = shell.folder / "flows.py"
    path.write_text(SLOW)
    return str(path)


@contextmanager
def opened(url: str, receive_buffer: int | None = None) -> Iterator[socket.socket]:
    """A stream whose head has arrived."""
    where = httpx.URL(url)
    with socket.socket() as made:
        if receive_buffer:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        made.connect((where.host, where.port))
        made.sendall(f"GET {where.raw_path.decode()} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        assert b" 200 " in made.recv(200)
        yield made


def cut(made: socket.socket) -> None:
    """Cut the network to this socket: nothing reaches it any more, and nobody is told.

    A packet filter that takes none: so nothing is acknowledged, as when a cable is pulled.
    """
    take_none = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    program = struct.pack("HL", 1, ctypes.addressof(take_none))
    SO_ATTACH_FILTER = 26  # noqa: N806 - the kernel's name
    made.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


def held(made: socket.socket) -> bool:
    """Whether the kernel has the server's side; also if closed, where it cannot get rid of it."""
    ours = f":{made.getsockname()[1]:04X}"
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()]
    return any(row[2].endswith(ours) and row[3] != "06" for row in rows)  # 06: it waits for time


def admitted(url: str) -> bool:
    with httpx.stream("GET", url) as answer:
        assert answer.status_code in (200, 429)
        assert answer.status_code == 200 or int(answer.headers["retry-after"]) > 0
        return answer.status_code == 200


@linux
@pytest.mark.parametrize("path", ["stream", "workspace"])
def test_a_place_is_free_again_when_the_network_was_cut(
    shell: Shell, target: str, path: str
) -> None:
    limits = ("--streams-per-workspace-max", "1", "--heartbeat-s", "0.5", "--write-timeout-s", "1")
    _, url = shell.serve(target, *limits)
    stream = stream_url(url, start_flow(url, "slow"))
    if path == "workspace":
        stream = f"{url}/api/v1/workspaces/default/stream"
    with opened(stream) as made:
        assert not admitted(stream)
        cut(made)
        until(lambda: admitted(stream))


@linux
def test_an_answer_that_nobody_reads_is_cut(shell: Shell, target: str) -> None:
    _, url = shell.serve(target, "--write-timeout-s", "1")
    execution = start_flow(url, "slow", lines=1000)
    heard(shell.watch(stream_url(url, execution)).stdout, "id: 100\n")  # of ten kilobytes each
    page = f"{url}/api/v1/workspaces/default/executions/{execution}/events?limit=1000"
    with opened(page, receive_buffer=2048) as made:
        assert held(made)
        # Its client is told nothing: the reset, too, stands behind what is not read.
        until(lambda: not held(made))


def test_two_servers_count_together_and_a_killed_one_gives_all_back(
    shell: Shell, target: str
) -> None:
    limits = ("--streams-per-workspace-max", "2", "--lease-s", "3")
    doomed, first = shell.serve(target, *limits)
    _, second = shell.serve(*limits)
    # A process of its own runs it: no server's death ends it.
    execution = shell.started_id(shell.start("exec", "--", "sleep", "100"))
    here, there = stream_url(first, execution), stream_url(second, execution)
    with opened(here), opened(here):
        assert not admitted(there)
        doomed.kill()
        doomed.wait()
        until(lambda: admitted(there))


def test_what_is_typed_may_say_what_it_likes_unless_it_was_limited(shell: Shell) -> None:
    talk = ("exec", "--", "sh", "-c", "seq 1 3000")
    assert shell.run(*talk).returncode == 0
    limited = shell.run(*talk, env={"TAILRACE_EVENTS_PER_EXECUTION_MAX": "1000"})
    assert limited.returncode != 0
    newest = events(shell.run("ls", "--json", "--limit", "2").stdout)
    assert [row["status"] for row in newest] == ["failed", "completed"]
    told = events(shell.run("tail", newest[0]["execution_id"], "--json").stdout)
    assert [e["type"] for e in told].count("warning") == 1
    assert told[-1]["data"]["error"]["type"] == "too_many_events"
