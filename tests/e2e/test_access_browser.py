"""Access control as a real browser sees it: a session's cookie, tickets, and pages of other sites."""

import json
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import needs
from tests.e2e.conftest import Shell
from tests.e2e.test_clients import CHROMIUM, MINUTE

COMMON = """<!doctype html><script>
const last = (url, options) => new Promise((done) => {
  const source = new EventSource(url, options);
  let seen = 0;
  source.addEventListener('execution.completed', (e) => { source.close(); done(e.lastEventId); });
  source.onerror = () => { if (source.readyState === 2) done('refused'); };
});
const status = (url, options) => fetch(url, options).then((r) => r.status, () => 'unreadable');
const tell = (result) => fetch('/result', { method: 'POST', body: JSON.stringify(result) });
const [api, execution, token, other] = %s;
const who = { Authorization: `Bearer ${token}` };
"""
# Of an origin that the server names. It has a token, and keeps it out of every URL.
OURS = """(async () => {
  const refused = await last(`${execution}/stream`, { withCredentials: true });
  const began = await status(`${api}/session`,
    { method: 'POST', headers: who, credentials: 'include' });
  const cookie = await last(`${execution}/stream`, { withCredentials: true });
  const resumed = await last(`${execution}/stream?after=10`, { withCredentials: true });
  const answer = await fetch(`${execution}/tickets`, { method: 'POST', headers: who });
  const url = `${execution}/stream?ticket=${(await answer.json()).ticket}`;
  const ticket = await last(url), again = await last(url);
  const readable = document.cookie;
  const changed = await status(`${execution}/cancel`, { method: 'POST', credentials: 'include' });
  await tell({ refused, began, cookie, resumed, ticket, again, readable, changed });
  location = other;
})()</script>"""
# Of another port of the same host: its browser sends the cookie along, which SameSite allows.
THEIRS = """(async () => {
  const stream = await last(`${execution}/stream`, { withCredentials: true });
  const read = await status(execution, { credentials: 'include' });
  const blind = await status(`${execution}/cancel`,
    { method: 'POST', credentials: 'include', mode: 'no-cors' });
  const asked = await status(`${execution}/cancel`,
    { method: 'POST', credentials: 'include', headers: { 'Content-Type': 'application/json' } });
  await tell({ stream, read, blind, asked });
})()</script>"""


class Site(ThreadingHTTPServer):
    """A web site of one page, which tells what it got."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.page, self.results = "", queue.SimpleQueue[dict[str, Any]]()
        self.origin = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Site)
        self._answer(self.server.page.encode())

    def do_POST(self) -> None:
        assert isinstance(self.server, Site)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.results.put(json.loads(body))
        self._answer(b"")

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def sites() -> Iterator[list[Site]]:
    made = [Site(), Site()]
    threads = [threading.Thread(target=site.serve_forever, args=(0.05,)) for site in made]
    for thread in threads:
        thread.start()
    yield made
    for site, thread in zip(made, threads, strict=True):
        site.shutdown()
        thread.join()
        site.server_close()


@contextmanager
def chromium(url: str, profile: Path) -> Iterator[None]:
    needs("chromium")
    command = [*CHROMIUM, f"--user-data-dir={profile}", url]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, start_new_session=True, **quiet)  # type: ignore[call-overload]
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # its children too
        process.wait()


def test_a_browser_gets_in_by_cookie_and_ticket_and_other_sites_do_not(
    shell: Shell, sites: list[Site], tmp_path: Path
) -> None:
    ours, theirs = sites
    key = shell.run("token", "create", "--role", "operator").stdout.strip()
    _, url = shell.serve("etl", MINUTE, "--auth", "--cors-origins", ours.origin, "--retry-ms", "50")
    base = f"{url}/api/v1/workspaces/default/executions"
    header = {"Authorization": f"Bearer {key}"}
    run = httpx.post(base, json={"flow": "etl"}, headers=header | {"Prefer": "wait=15"}).json()
    execution = f"{base}/{run['execution_id']}"
    running = httpx.post(
        base, json={"flow": "minute", "input": {"seconds": 60}}, headers=header
    ).json()["execution_id"]
    given = json.dumps([f"{url}/api/v1", execution, key, theirs.origin])
    ours.page = COMMON % given + OURS
    theirs.page = COMMON % json.dumps([f"{url}/api/v1", f"{base}/{running}", "", ""]) + THEIRS
    with chromium(ours.origin, tmp_path / "profile"):
        assert ours.results.get() == {
            "refused": "refused",
            "began": 201,
            "cookie": str(run["head"]),
            "resumed": str(run["head"]),
            "ticket": str(run["head"]),
            "again": "refused",
            "readable": "",  # no script sees the cookie
            "changed": 200,
        }
        assert theirs.results.get() == {
            "stream": "refused",
            "read": "unreadable",
            "blind": "unreadable",  # the browser does send it: the server must refuse it
            "asked": "unreadable",
        }
    status = httpx.get(f"{base}/{running}", headers=header).json()["status"]
    assert status == "running"  # neither of their two attempts has stopped it
