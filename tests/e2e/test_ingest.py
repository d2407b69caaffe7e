"""The reference reporters, on a way that loses requests and answers, while others watch.

Whatever got lost, each report is in the log once and in its order, and every watcher has all of it.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import needs
from tests.e2e.conftest import Shell, curl, stream_url, wire_ids
from tests.e2e.losing import ANSWER, REFUSED, REQUEST, Losing

ROOT = Path(__file__).parents[2]
INGEST, DOCUMENT = ROOT / "examples" / "ingest", ROOT / "docs" / "ingest.md"
Faults = Mapping[int, str | Callable[[], None]]
Lose = Callable[[str, Faults], Losing]
Command = list[str | Path]

COUNTED = [
    "execution.queued",
    "execution.started",
    *["node.started", "log.line", "node.completed"] * 3,
    "execution.completed",
]
LISTED = [
    *["execution.queued", "execution.started", "node.started", "node.completed"],
    *["node.started", "log.line", "node.completed", "execution.completed"],
]


@pytest.fixture
def losing() -> Iterator[Lose]:
    """A way to a server that loses."""
    made: list[Losing] = []

    def begin(upstream: str, faults: Faults) -> Losing:
        made.append(Losing(upstream, faults))
        return made[-1]

    yield begin
    for one in made:
        one.end()


def done(*command: str | Path, cwd: Path) -> None:
    ended = subprocess.run(command, check=False, capture_output=True, text=True, cwd=cwd)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.fixture(scope="session")
def go_reporter(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Compiled with nothing but Go's standard library."""
    needs("go")
    built = tmp_path_factory.mktemp("go") / "reporter"
    done("go", "vet", "reporter.go", cwd=INGEST)
    done("go", "build", "-o", built, "reporter.go", cwd=INGEST)
    return [built]


@pytest.fixture(scope="session")
def ts_reporter(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Compiled strictly, by the compiler that its package.json names."""
    needs("node", "npm")
    folder = tmp_path_factory.mktemp("ts")
    for name in ("reporter.ts", "package.json", "tsconfig.json"):
        shutil.copy(INGEST / name, folder)
    done("npm", "install", "--no-audit", "--no-fund", "--prefer-offline", cwd=folder)
    done(folder / "node_modules" / ".bin" / "tsc", cwd=folder)
    return ["node", folder / "built" / "reporter.js"]


@pytest.fixture(scope="session")
def sh_reporter() -> Command:
    needs("curl", "openssl")
    return ["sh", INGEST / "report.sh", INGEST]


def new_job(url: str) -> dict[str, str]:
    answer = httpx.post(f"{url}/api/v1/workspaces/default/jobs", json={"flow": "primes"})
    made: dict[str, str] = answer.raise_for_status().json()
    return made


def watcher(url: str, job: str) -> subprocess.Popen[str]:
    """Somebody who watches from the first event on; returned once it has that."""
    process = subprocess.Popen(
        ["curl", "-sN", "-m", "60", stream_url(url, job)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line == "event: execution.queued\n":
            return process
    raise AssertionError("the stream ended before its first event")


def report(shell: Shell, command: Command, url: str, job: Mapping[str, str]) -> str:
    """Run a reporter to its end; returns what it printed."""
    env = {
        "TAILRACE_URL": url,
        "TAILRACE_JOB": job["execution_id"],
        "TAILRACE_JOB_TOKEN": job["token"],
    }
    ended = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=60, env=shell.env | env
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def types_of(text: str) -> list[str]:
    """Of the events in it; without what a stream says of itself."""
    return re.findall(r"^event: ((?!stream)[a-z]+\.[a-z]+)$", text, re.MULTILINE)


def numbers(bodies: list[bytes]) -> list[int]:
    return [json.loads(body)["producer_seq"] for body in bodies]


@pytest.mark.timeout(180)  # the first use of a reporter compiles it, TypeScript after an install
@pytest.mark.parametrize(
    ("name", "types", "faults"),
    [
        ("go", COUNTED, {1: ANSWER, 3: REQUEST, 5: REFUSED, 7: ANSWER, 8: ANSWER, 11: ANSWER}),
        ("ts", COUNTED, {1: ANSWER, 3: REQUEST, 5: REFUSED, 7: ANSWER, 8: ANSWER, 11: ANSWER}),
        ("sh", LISTED, {1: ANSWER, 3: REFUSED, 8: ANSWER}),
    ],
)
def test_a_reporter_drives_an_execution_while_two_watch(
    request: pytest.FixtureRequest,
    shell: Shell,
    losing: Lose,
    name: str,
    types: list[str],
    faults: Faults,
) -> None:
    command = request.getfixturevalue(f"{name}_reporter")
    _, url = shell.serve()
    job = new_job(url)
    way = losing(url, faults)
    watchers = [watcher(url, job["execution_id"]) for _ in range(2)]
    try:
        assert report(shell, command, way.url, job) == f"{job['execution_id']}\n"
        seen = [process.communicate(timeout=15)[0] for process in watchers]
    finally:
        for process in watchers:
            process.kill()
            process.communicate()
    for text in seen:
        assert wire_ids(text) == list(range(2, len(types) + 1)), "all of it, once, in order"
        assert types_of(text) == types[1:]
    sent = numbers(way.bodies)
    assert len(sent) == len(set(sent)) + len(faults), "each loss was one repeat"
    assert sent == sorted(sent)
    state = json.loads(shell.run("show", job["execution_id"], "--json").stdout)
    assert state["status"] == "completed"
    assert {node["status"] for node in state["nodes"]} == {"completed"}
    if types is COUNTED:
        assert state["output"] == {"below": 300_000, "primes": 25_997}


@pytest.mark.timeout(180)  # it compiles the reporter if no test before it did
def test_a_server_killed_before_it_answers_loses_and_doubles_nothing(
    shell: Shell, losing: Lose, go_reporter: Command
) -> None:
    server, url = shell.serve()
    job = new_job(url)

    def kill() -> None:
        server.kill()
        server.wait()
        _, way.upstream = shell.serve()

    way = losing(url, {4: kill})
    report(shell, go_reporter, way.url, job)
    text = curl(stream_url(way.upstream, job["execution_id"])).stdout
    assert types_of(text) == COUNTED
    assert wire_ids(text) == list(range(1, len(COUNTED) + 1))
    assert numbers(way.bodies) == [1, 2, 3, 4, 4, 5, 6, 7]


@pytest.mark.timeout(180)  # it compiles the reporter if no test before it did
def test_a_reporter_makes_its_own_job_and_stops_when_it_is_asked_to(
    shell: Shell, go_reporter: Command
) -> None:
    _, url = shell.serve()
    ended = subprocess.run(
        go_reporter,
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
        env=shell.env | {"TAILRACE_URL": url},
    )
    made = ended.stdout.strip()
    assert types_of(curl(stream_url(url, made)).stdout) == COUNTED
    job = new_job(url)
    shell.run("cancel", job["execution_id"], "--url", url)
    report(shell, go_reporter, url, job)
    last = types_of(curl(stream_url(url, job["execution_id"])).stdout)
    assert last[-1] == "execution.cancelled"
    assert "execution.completed" not in last


def test_a_wrong_token_is_said_at_once(shell: Shell, sh_reporter: Command) -> None:
    _, url = shell.serve()
    job = new_job(url) | {"token": "0" * 64}
    env = {
        "TAILRACE_URL": url,
        "TAILRACE_JOB": job["execution_id"],
        "TAILRACE_JOB_TOKEN": job["token"],
    }
    ended = subprocess.run(
        sh_reporter, check=False, capture_output=True, text=True, timeout=30, env=shell.env | env
    )
    assert ended.returncode == 1
    assert "signature_invalid" in ended.stderr
    assert types_of(
        curl(stream_url(url, job["execution_id"]), "-G", "-d", "follow=false").stdout
    ) == ["execution.queued"]


def test_the_commands_of_the_document_report_an_execution(shell: Shell) -> None:
    needs("curl", "openssl")
    _, url = shell.serve()
    found = re.search(r"^```sh\n(.*?)^```", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    assert found is not None
    script = found[1].replace("http://127.0.0.1:8787", url)
    ended = subprocess.run(
        ["sh", "-eu", "-c", script], check=False, capture_output=True, text=True, timeout=18
    )
    assert ended.returncode == 0, ended.stderr
    answers = [json.loads(part) for part in re.findall(r"{[^}]*}", ended.stdout)]
    assert [answer["status"] for answer in answers] == ["running", "running", "completed"]
    state = json.loads(shell.run("show", answers[0]["execution_id"], "--json").stdout)
    assert state["nodes"][0]["output_summary"]["preview"] == '{"rows":3}'


# --- export and import --------------------------------------------------------------------------


def test_an_execution_moves_to_another_store_as_a_file(shell: Shell) -> None:
    ran = shell.run("run", "answer", "--json")
    execution_id = json.loads(ran.stdout.splitlines()[0])["execution_id"]
    out = shell.run("export", execution_id)
    assert out.returncode == 0, out.stderr
    (shell.folder / "run.ndjson").write_text(out.stdout)
    events = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [json.loads(line) for line in out.stdout.splitlines()[1:-1]] == events
    elsewhere = {"TAILRACE_STORE": f"sqlite:///{shell.folder / 'other.db'}"}
    put = shell.run("import", "run.ndjson", env=elsewhere)
    assert (put.returncode, put.stdout) == (0, f"{execution_id} completed\n")
    assert shell.run("export", execution_id, env=elsewhere).stdout == out.stdout
    there = [shell.run("show", execution_id, "--json", env=env) for env in ({}, elsewhere)]
    assert there[0].stdout == there[1].stdout
    taken = shell.run("import", "run.ndjson", env=elsewhere)
    assert taken.returncode == 1
    assert "execution_exists" in taken.stderr
    copied = shell.run("import", "-", "--as", "copy-1", env=elsewhere, input=out.stdout)
    assert copied.stdout == "copy-1 completed\n"
    listed = shell.run("ls", "--json", env=elsewhere).stdout.splitlines()
    assert [json.loads(row)["execution_id"] for row in listed] == ["copy-1", execution_id]


def test_the_log_of_a_command_moves_too(shell: Shell) -> None:
    command = shell.start("exec", "--", "sh", "-c", "seq 300; echo bad >&2; exit 3")
    execution_id = shell.started_id(command)
    command.communicate()
    out = shell.run("export", execution_id).stdout
    elsewhere = {"TAILRACE_STORE": f"sqlite:///{shell.folder / 'other.db'}"}
    put = shell.run("import", "-", env=elsewhere, input=out)
    assert (put.stdout, put.stderr) == (f"{execution_id} failed\n", "")
    assert shell.run("export", execution_id, env=elsewhere).stdout == out
    assert out.count('"type":"log.line"') == 301


def test_a_file_that_is_cut_short_is_refused_whole(shell: Shell) -> None:
    execution_id = json.loads(shell.run("run", "etl", "--json").stdout.splitlines()[0])[
        "execution_id"
    ]
    out = shell.run("export", execution_id).stdout
    elsewhere: dict[str, Any] = {"TAILRACE_STORE": f"sqlite:///{shell.folder / 'other.db'}"}
    (shell.folder / "cut.ndjson").write_text("".join(out.splitlines(keepends=True)[:-1]))
    cut = shell.run("import", "cut.ndjson", env=elsewhere)
    assert (cut.returncode, "invalid_export" in cut.stderr) == (2, True)
    assert shell.run("ls", "--json", env=elsewhere).stdout == ""
    missing = shell.run("import", "nowhere.ndjson", env=elsewhere)
    assert (missing.returncode, "invalid_export" in missing.stderr) == (2, True)
    unknown = shell.run("export", "nobody")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "execution_not_found" in unknown.stderr
