"""The examples of clients, and real clients through connections that are cut.

Whatever is between two requests of a client, it gets every id once, in order, and stops at the
end.
"""

import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tailrace.events import CATALOG, CONTROL
from tests.conftest import needs
from tests.e2e.conftest import Shell, curl, start_flow, stream_url, wire_ids
from tests.e2e.cutting import Proxy

HERE = Path(__file__).parent
CLIENTS = HERE.parents[1] / "examples" / "clients"
MINUTE = str(HERE / "minute.py")
PAGES = {"/watch.html": HERE / "watch.html", "/browser.html": CLIENTS / "browser.html"}
TYPES = sorted(set(CATALOG) - CONTROL)
# --no-sandbox for root; without the others Chromium talks to hosts of its maker.
CHROMIUM = (
    "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip

Through = Callable[[str], Proxy]
Open = Callable[[str], None]


@pytest.fixture
def through() -> Iterator[Through]:
    """A proxy in front of a server."""
    made: list[Proxy] = []

    def begin(upstream: str) -> Proxy:
        made.append(Proxy(upstream, PAGES))
        return made[-1]

    yield begin
    for proxy in made:
        proxy.end()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Open]:
    """Opens a page in Chromium."""
    needs("chromium")
    started: list[subprocess.Popen[bytes]] = []

    def visit(url: str) -> None:
        profile = f"--user-data-dir={tmp_path / f'profile-{len(started)}'}"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        command = [*CHROMIUM, profile, url]
        started.append(subprocess.Popen(command, start_new_session=True, **quiet))  # type: ignore[call-overload]

    yield visit
    for process in started:
        os.killpg(process.pid, signal.SIGKILL)  # its children too: it started a session of its own
        process.wait()


@pytest.fixture(scope="session")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Node.js example with what it needs, installed as its reader would."""
    needs("node", "npm")
    folder = tmp_path_factory.mktemp("node")
    for name in ("node.mjs", "package.json"):
        shutil.copy(CLIENTS / name, folder)
    install = ["npm", "install", "--no-audit", "--no-fund", "--prefer-offline"]
    done = subprocess.run(install, check=False, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def watched(proxy: Proxy, open_page: Open, stream: str) -> dict[str, Any]:
    """What the example's page and a plain EventSource got of a stream, once both have stopped."""
    begin_watching(proxy, open_page, stream)
    return finished(proxy)


def begin_watching(proxy: Proxy, open_page: Open, stream: str) -> None:
    open_page(f"{proxy.url}/watch.html?types={','.join(TYPES)}&url={quote(stream)}")


def finished(proxy: Proxy) -> dict[str, Any]:
    result: dict[str, Any] = proxy.wait_for(lambda: proxy.results)[0]
    return result


def path_of(execution_id: str) -> str:
    return stream_url("", execution_id)


def every_id(url: str, execution_id: str) -> list[int]:
    """What the log holds, asked without anything in between."""
    ids = wire_ids(curl(stream_url(url, execution_id)).stdout)
    assert ids == list(range(1, ids[-1] + 1))
    return ids


def run(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=18, cwd=cwd)


def printed_ids(text: str) -> list[int]:
    return [int(line.split()[0]) for line in text.splitlines()]


# --- the examples -----------------------------------------------------------------------------


def test_curl_sh_starts_follows_and_resumes(shell: Shell) -> None:
    _, url = shell.serve("etl")
    done = run("sh", CLIENTS / "curl.sh", url)
    assert done.returncode == 0, done.stderr
    assert wire_ids(done.stdout) == list(range(1, 16))
    assert "after event 15 the server answers 204" in done.stdout
    assert run("sh", CLIENTS / "curl.sh", "http://127.0.0.1:9").returncode != 0


def test_node_mjs_prints_each_event_and_ends_as_the_execution_did(
    shell: Shell, node_folder: Path
) -> None:
    _, url = shell.serve("etl")
    good, bad = start_flow(url, "etl"), start_flow(url, "etl", fail=True)
    done = run("node", "node.mjs", stream_url(url, good), cwd=node_folder)
    assert done.returncode == 0, done.stderr
    assert printed_ids(done.stdout) == every_id(url, good)
    assert done.stdout.endswith(" execution.completed\n")
    failed = run("node", "node.mjs", stream_url(url, bad), cwd=node_folder)
    assert failed.returncode == 1
    assert failed.stdout.endswith(" execution.failed\n")
    unknown = run("node", "node.mjs", stream_url(url, "unknown"), cwd=node_folder)
    assert unknown.returncode == 1
    assert "404" in unknown.stderr


def test_npms_eventsource_is_stopped_by_the_204(
    shell: Shell, node_folder: Path, through: Through
) -> None:
    _, url = shell.serve("etl", "--retry-ms", "50")
    proxy = through(url)
    execution_id = start_flow(url, "etl")
    script = """
        import { EventSource } from 'eventsource'
        const source = new EventSource(process.argv[1])
        const waiting = setInterval(() => {}, 2 ** 30)
        source.addEventListener('execution.completed', (event) => console.log(event.lastEventId))
        source.addEventListener('error', () => {
          if (source.readyState === EventSource.CLOSED) clearInterval(waiting)
        })
    """  # it never closes itself
    plain = ["node", "--input-type=module", "--eval", script, stream_url(proxy.url, execution_id)]
    assert run(*plain, cwd=node_folder).stdout == "15\n"
    assert [exchange.status for exchange in proxy.exchanges] == [200, 204]


def test_follow_py_handles_each_event_once_however_often_it_is_killed(
    shell: Shell, tmp_path: Path
) -> None:
    _, url = shell.serve(MINUTE)
    execution_id = start_flow(url, "minute", seconds=2)
    database = tmp_path / "handled.db"
    command = [sys.executable, str(CLIENTS / "follow.py"), url, execution_id, str(database)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(20):
            assert process.stdout.readline()
        process.kill()
    again = run(*command)
    assert again.returncode == 0, again.stderr
    ids = every_id(url, execution_id)
    assert handled(database) == ids
    with closing(sqlite3.connect(database)) as opened, opened:
        opened.execute("DELETE FROM positions")  # so everything is delivered once more
    redone = run(*command)
    assert (redone.returncode, redone.stdout) == (0, "")
    assert handled(database) == ids


def handled(database: Path) -> list[int]:
    """The ids in the order they were handled; each had its effect, once."""
    with closing(sqlite3.connect(database)) as opened:
        ids = [row[0] for row in opened.execute("SELECT id FROM handled ORDER BY rowid")]
        assert opened.execute("SELECT sum(events) FROM counts").fetchone()[0] == len(ids)
    return ids


def test_follow_py_ends_with_1_when_the_execution_failed(shell: Shell, tmp_path: Path) -> None:
    _, url = shell.serve("etl")
    execution_id = start_flow(url, "etl", fail=True)
    program, database = CLIENTS / "follow.py", tmp_path / "handled.db"
    assert run(sys.executable, program, url, execution_id, database).returncode == 1
    assert handled(database) == every_id(url, execution_id)


def test_page_py_serves_the_page_beside_the_streams(
    tmp_path: Path, through: Through, browser: Open
) -> None:
    serve = [sys.executable, "-m", "uvicorn", "--app-dir", str(CLIENTS), "page:app", "--port", "0"]
    with subprocess.Popen(serve, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as server:
        assert server.stderr is not None
        url = next(found[0] for line in server.stderr if (found := re.search(r"http://\S+", line)))
        try:
            start = httpx.get(f"{url}/?to=5")
            page, _, stream = start.headers["location"].partition("?url=")
            proxy = through(url)
            del proxy.files["/browser.html"]  # the app's own is meant
            result = watched(proxy, browser, stream)
            assert page == "/browser.html"
            assert result["page"]["words"][-1] == "Ended: completed."
            assert sum("output.item" in row for row in result["page"]["rows"]) == 5
        finally:
            server.terminate()


def test_the_examples_listen_to_every_type_of_the_catalog() -> None:
    """An EventSource is deaf to a name that it does not know."""
    for name in ("browser.html", "node.mjs"):
        found = re.search(r"const TYPES = \[(.*?)\]", (CLIENTS / name).read_text(), re.DOTALL)
        assert found
        assert sorted(re.findall(r"'(.*?)'", found[1])) == TYPES, name


def test_snippets_of_the_document_are_lines_of_the_examples() -> None:
    document = (HERE.parents[1] / "docs" / "clients.md").read_text()
    files = (CLIENTS / name for name in ("browser.html", "follow.py"))
    examples = "\n".join(unindented(path.read_text()) for path in files)
    snippets = re.findall(r"^```(?:js|py)\n(.*?)^```", document, re.DOTALL | re.MULTILINE)
    assert len(snippets) == 2
    for snippet in snippets:
        assert unindented(snippet) in examples


def unindented(text: str) -> str:
    return "\n".join(line.strip() for line in text.splitlines())


# --- the browser's page -----------------------------------------------------------------------


def test_the_page_shows_a_failure_with_its_reason(
    shell: Shell, through: Through, browser: Open
) -> None:
    _, url = shell.serve("etl", "--retry-ms", "50")
    execution_id = start_flow(url, "etl", fail=True)
    proxy = through(url)
    result = watched(proxy, browser, path_of(execution_id))
    assert result["page"]["ids"] == every_id(url, execution_id)
    assert result["page"]["words"][-1].startswith("Ended: failed. ")
    assert "live" in result["page"]["states"]
    assert [exchange.status for exchange in proxy.of("page")] == [200]  # it closed itself
    assert [exchange.status for exchange in proxy.of("plain")] == [200, 204]  # it did not


def test_the_page_says_that_there_is_no_such_execution(
    shell: Shell, through: Through, browser: Open
) -> None:
    _, url = shell.serve("etl")
    result = watched(through(url), browser, path_of("unknown"))
    assert result["page"]["words"][-1] == "Refused: the server answered 404."


def test_the_page_says_a_gap(shell: Shell, through: Through, browser: Open) -> None:
    _, url = shell.serve("etl", "--retry-ms", "50")
    execution_id = start_flow(url, "etl")
    assert every_id(url, execution_id)[-1] == 15
    result = watched(through(url), browser, f"{path_of(execution_id)}?after=99")
    assert "Events 16 to 99 are missing: the log was lost." in result["page"]["rows"][0]
    assert result["page"]["ids"] == [15]
    assert result["page"]["states"][-1] == "ended"


def test_the_page_goes_on_after_the_servers_own_closing(
    shell: Shell, through: Through, browser: Open
) -> None:
    _, url = shell.serve(MINUTE, "--retry-ms", "50", "--lifetime-s", "1")
    execution_id = start_flow(url, "minute", seconds=4)
    result = watched(through(url), browser, path_of(execution_id))
    assert {"closing", "reconnecting", "live"} <= set(result["page"]["states"])
    assert result["page"]["ids"] == result["plain"]["ids"] == every_id(url, execution_id)


def test_the_page_and_node_come_back_after_a_503(
    shell: Shell, through: Through, browser: Open, node_folder: Path
) -> None:
    """An EventSource stops for good at any status but 200; a restart behind a proxy gives 503."""
    _, url = shell.serve("etl", "--retry-ms", "50")
    proxy = through(url)
    execution_id = start_flow(url, "etl")
    proxy.refuse = 2  # one for each watcher in the browser: the plain one stops
    result = watched(proxy, browser, path_of(execution_id))
    assert result["page"]["ids"] == every_id(url, execution_id)
    assert result["plain"]["ids"] == []
    proxy.refuse = 1
    done = run("node", "node.mjs", stream_url(proxy.url, execution_id), cwd=node_folder)
    assert done.returncode == 0, done.stderr
    assert printed_ids(done.stdout) == result["page"]["ids"]


def test_the_page_notices_a_log_that_was_lost_and_made_again(
    shell: Shell, through: Through, browser: Open, tmp_path: Path
) -> None:
    """A browser reconnects with the bare id; only the epoch tells one log from another."""
    _, before = shell.serve(MINUTE, "--retry-ms", "50")
    store = f"sqlite:///{tmp_path / 'again.db'}"
    _, again = shell.serve(MINUTE, "--retry-ms", "50", TAILRACE_STORE=store)
    execution_id = start_same(before, seconds=15, every_ms=100)
    assert start_same(again, seconds=1, every_ms=1) == execution_id
    ids = every_id(again, execution_id)
    proxy = through(before)
    begin_watching(proxy, browser, path_of(execution_id))
    proxy.wait_for(lambda: any(exchange.writes > 5 for exchange in proxy.of("page")))
    proxy.upstream = again
    proxy.cut()
    page = finished(proxy)["page"]
    seen = len(page["ids"]) - len(ids)
    assert 0 < seen < len(ids)
    assert page["ids"] == [*range(1, seen + 1), *ids]
    gaps = [row for row in page["rows"] if row.startswith("stream.gap")]
    assert gaps == [f"stream.gapEvents 1 to {seen} are missing: the log was lost."]


def start_same(url: str, **given: Any) -> str:
    """Start with a key, which becomes the id: the same on every server."""
    body = {"flow": "minute", "idempotency_key": "same", "input": given}
    answer = httpx.post(f"{url}/api/v1/workspaces/default/executions", json=body)
    return str(answer.raise_for_status().json()["execution_id"])


# --- the forced cut ---------------------------------------------------------------------------


def test_a_cut_is_a_reset(shell: Shell, through: Through) -> None:
    """The check of the check: an end in good order would be an easier test than is promised."""
    _, url = shell.serve(MINUTE)
    proxy = through(url)
    execution_id = start_flow(url, "minute", seconds=10)
    with socket.create_connection(("127.0.0.1", proxy.server_port)) as client:
        client.sendall(f"GET {path_of(execution_id)} HTTP/1.1\r\n\r\n".encode())
        assert client.recv(65_536)
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            read_to_the_end(client)


def read_to_the_end(client: socket.socket) -> None:
    while client.recv(65_536):
        pass


@pytest.mark.timeout(120)  # the execution itself lasts a minute: that is what is promised
def test_a_browser_and_npms_eventsource_survive_a_cut_every_second_for_a_minute(
    shell: Shell, through: Through, browser: Open, node_folder: Path
) -> None:
    """Three at once: a plain EventSource, the example's page, the example for Node.js."""
    _, url = shell.serve(MINUTE, "--retry-ms", "50")
    proxy = through(url)
    execution_id = start_flow(url, "minute", seconds=60, every_ms=30)
    stream = path_of(execution_id)
    begin_watching(proxy, browser, stream)
    command = ["node", "node.mjs", f"{proxy.url}{stream}?watcher=node"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=node_folder, **pipes) as node:  # type: ignore[call-overload]
        proxy.cut_every(1)
        printed, reconnects = node.communicate()
        result = finished(proxy)
    ids = every_id(url, execution_id)
    assert len(ids) > 1000
    assert result["plain"]["ids"] == ids
    assert result["plain"]["lastEventIds"] == [str(number) for number in ids]
    assert result["page"]["ids"] == ids
    assert printed_ids(printed) == ids
    assert node.returncode == 0
    assert result["page"]["words"][-1] == "Ended: completed."
    for watcher in ("plain", "page", "node"):
        assert_cut_again_and_again(proxy, watcher)
    assert reconnects.count("terminated") >= 50  # undici's word for an answer that broke off
    # Who closes itself asks for nothing more; who does not is told once that there is nothing.
    whole = [exchange.status for exchange in proxy.of("plain") if not exchange.cut]
    assert (whole[-1], whole.count(204)) == (204, 1)
    assert not proxy.of("plain")[-1].cut
    assert {exchange.status for exchange in proxy.of("page") + proxy.of("node")} == {200}


def assert_cut_again_and_again(proxy: Proxy, watcher: str) -> None:
    cuts = [exchange for exchange in proxy.of(watcher) if exchange.cut]
    print(watcher, len(cuts), "cuts,", sum(cut.mid_write for cut in cuts), "of them mid-write")
    assert len(cuts) >= 50
    assert sum(cut.mid_write for cut in cuts) > 40
