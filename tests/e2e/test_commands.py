"""The command line as a user meets it: output, exit statuses, errors, signals."""

import json
import os
import pty
import signal
import subprocess

import httpx
import pytest

from tailrace.cli.main import cli
from tests.e2e.conftest import COMMAND, Shell, ending, events, heard

FLOWS = """
import anyio
from tailrace import after, flow, node

@node
async def double(n: int) -> int:
    return 2 * n

@node
async def forever(n: int) -> int:
    await anyio.sleep_forever()

@flow
def doubled(n: int = 1):
    return double(n)

@flow
def endless(n: int = 1):
    return forever(n)
"""
CYCLE = """
from tailrace import after, flow, node

@node
async def step() -> int:
    return 1

@flow
def cyclic():
    a = step()
    b = step()
    after(a, b)
    after(b, a)
    return a
"""


@pytest.fixture
def flows(shell: Shell) -> str:
    (shell.folder / "flows.py").write_text(FLOWS)
    return "flows.py"


def test_a_shipped_example_runs_to_its_output(shell: Shell) -> None:
    done = shell.run("run", "etl")
    assert done.returncode == 0
    for name in ("extract", "parse", "by_country", "by_hemisphere", "verify", "report"):
        assert f"✓ {name}" in done.stdout
    assert '"zones": 418' in done.stdout
    assert "\x1b[" not in done.stdout  # no colours off a terminal


def test_json_is_one_event_a_line_and_nothing_else(shell: Shell) -> None:
    done = shell.run("run", "etl", "--json")
    found = events(done.stdout)
    assert [event["id"] for event in found] == list(range(1, len(found) + 1))
    assert found[-1]["type"] == "execution.completed"


def test_what_an_agent_says_is_shown(shell: Shell) -> None:
    done = shell.run("run", "answer", "--input", '{"question": "And Japan?"}')
    assert "There are 1 of them.\n- Asia/Tokyo\n" in done.stdout


def test_a_failing_node_exits_1_and_is_named(shell: Shell) -> None:
    done = shell.run("run", "etl", "--input", '{"fail": true}')
    assert done.returncode == 1
    assert "✗ verify" in done.stdout
    assert "asked to fail" in done.stdout


def test_events_stream_in_order(shell: Shell, flows: str) -> None:
    done = shell.run("run", f"{flows}:doubled", "--stream")
    types = [line.split()[2] for line in done.stdout.splitlines()]
    assert types == [
        "execution.queued",
        "execution.started",
        "node.started",
        "node.completed",
        "execution.completed",
    ]


def test_input_comes_from_a_file(shell: Shell, flows: str) -> None:
    (shell.folder / "input.json").write_text('{"n": 21}')
    done = shell.run("run", f"{flows}:doubled", "--input", "@input.json", "--json")
    assert events(done.stdout)[-1]["data"]["output"] == 42


def test_a_module_can_be_a_target(shell: Shell, flows: str) -> None:
    assert shell.run("run", "flows:doubled").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["run", "nope"], "target_not_found"),
        (["run", "nope.py"], "target_not_found"),
        (["run", "flows.py"], "target_not_found"),
        (["run", "flows.py:nope"], "target_not_found"),
        (["run", "cycle.py"], "invalid_flow"),
        (["run", "broken.py"], "target_not_found"),
        (["run", "leaves.py"], "target_not_found"),
        (["run", "."], "target_not_found"),
        (["run", ""], "target_not_found"),
        (["run", "flows.py:doubled", "--input", "{"], "invalid_input"),
        (["run", "flows.py:doubled", "--input", "[1]"], "invalid_input"),
        (["run", "flows.py:doubled", "--input", '{"m": 1}'], "invalid_input"),
        (["run", "flows.py:doubled", "--input", "@nope.json"], "invalid_input"),
        (["tail", "nope"], "execution_not_found"),
        (["tail"], "execution_not_found"),
        (["show", "nope"], "execution_not_found"),
        (["cancel", "nope"], "execution_not_found"),
        (["ls", "--status", "happy"], "invalid_request"),
        (["ls", "--store", "postgres://x"], "invalid_setting"),
        (["serve", "--port", "99999"], "invalid_setting"),
        (["serve", "--heartbeat-s", "soon"], "invalid_setting"),
        (["serve", "--retention-age-s", "long"], "invalid_setting"),
        (["serve", "--jwt-keys", "nope.pem", "--jwt-audience", "a"], "invalid_setting"),
        (["graph", "nope.json"], "target_not_found"),
    ],
)
def test_bad_input_is_one_line_with_a_code_and_exit_2(
    shell: Shell, flows: str, arguments: list[str], code: str
) -> None:
    (shell.folder / "cycle.py").write_text(CYCLE)
    (shell.folder / "broken.py").write_text("import nothing_of_that_name")
    (shell.folder / "leaves.py").write_text("raise SystemExit(3)")
    done = shell.run(*arguments)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"error[{code}]: ")
    assert " — " in line  # what to do about it
    assert done.stdout == ""


def test_a_store_that_is_no_store_is_one_line_and_exit_1(shell: Shell) -> None:
    (shell.folder / "log.db").write_text("not a database " * 1000)
    for command in (["ls"], ["serve", "--port", "0"], ["serve", "--port", "0", "--workers", "2"]):
        done = shell.run(*command)
        assert done.returncode == 1
        assert done.stderr.startswith("error[store_corrupt]: ")
        assert len(done.stderr.strip().splitlines()) == 1


def test_a_usage_error_exits_2(shell: Shell) -> None:
    for mistake, hint in (
        (["run"], "Missing argument 'TARGET' — `tailrace run --help` shows how."),
        (["frobnicate"], "No such command 'frobnicate' — `tailrace --help` shows how."),
        (["tail", "--nope"], " — `tailrace tail --help` shows how."),
        (["ls", "--limit"], "Option '--limit' requires an argument — `tailrace --help` shows how."),
        (["token", "create", "--role", "boss"], " — `tailrace token create --help` shows how."),
    ):
        done = shell.run(*mistake)
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert line.startswith("error[usage]: ")
        assert line.endswith(hint)
    assert "Usage: tailrace" in shell.run().stdout + shell.run().stderr


@pytest.mark.parametrize(
    "command", [*sorted(cli.commands), "token create", "token list", "token revoke"]
)
def test_help_has_examples(shell: Shell, command: str) -> None:
    done = shell.run(*command.split(), "--help")
    assert done.returncode == 0
    assert f"tailrace {command}" in done.stdout.partition("Examples")[2]


def test_exec_passes_output_and_status_and_keeps_the_lines(shell: Shell) -> None:
    done = shell.run("exec", "--", "sh", "-c", "echo a; echo b >&2; exit 3")
    assert done.returncode == 3
    assert done.stdout == "a\n"
    assert "b\n" in done.stderr
    tail = shell.run("tail")
    assert tail.returncode == 1
    # Of two pipes nobody knows which was written first.
    assert sorted(line.split()[-3:] for line in tail.stdout.splitlines() if "│" in line) == [
        ["stderr", "│", "b"],
        ["stdout", "│", "a"],
    ]
    (queued, *_, end) = events(shell.run("tail", "--json").stdout)
    assert (queued["data"]["kind"], end["data"]["exit_status"]) == ("workload", 3)


def test_exec_of_a_missing_command_exits_127(shell: Shell) -> None:
    done = shell.run("exec", "no-such-command")
    assert done.returncode == 127
    assert "no-such-command" in done.stderr


def test_exec_reads_a_pipe(shell: Shell) -> None:
    assert shell.run("exec", "--", "wc", "-l", input="a\nb\n").stdout.strip() == "2"


def first_line(shell: Shell, command: str, *, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Read a line of what a command says, and leave."""
    line = f"{COMMAND} {command} | head -1"
    return subprocess.run(
        ["sh", "-c", line],
        check=False,
        env=shell.env,
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )


def test_exec_keeps_recording_when_its_reader_leaves(shell: Shell) -> None:
    done = first_line(shell, "exec -- seq 1 5000", timeout_s=18)
    assert done.stdout == "1\n"
    recorded = events(shell.run("tail", "--json").stdout)
    assert sum(event["type"] == "log.line" for event in recorded) == 5000
    assert recorded[-1]["type"] == "execution.completed"


@pytest.mark.parametrize("how", ["--json", "--stream"])
def test_a_run_whose_reader_leaves_says_nothing_of_it(shell: Shell, how: str) -> None:
    done = first_line(shell, f"run s2_site {how}", timeout_s=50)
    assert "execution.queued" in done.stdout
    assert [said.split()[:2] for said in done.stderr.splitlines()] == [["tailrace:", "execution"]]


def test_an_execution_is_followed_while_it_runs_and_cancelled_from_elsewhere(
    shell: Shell, flows: str
) -> None:
    run = shell.start("run", f"{flows}:endless", "--json")
    execution_id = shell.started_id(run)
    tail = shell.start("tail", execution_id, "--json")
    assert tail.stdout is not None
    while json.loads(tail.stdout.readline())["type"] != "node.started":
        pass
    assert shell.run("ls", "--status", "running", "--json").stdout.count(execution_id) == 1
    done = shell.run("cancel", execution_id, "--reason", "enough")
    # It may have ended before the command looks again.
    assert done.stdout in (f"{execution_id} cancelling\n", f"{execution_id} cancelled\n")
    assert run.wait() == 130
    assert tail.wait() == 130
    assert run.stdout is not None
    end = events(run.stdout.read())[-1]
    assert (end["type"], end["data"]["by"], end["data"]["reason"]) == (
        "execution.cancelled",
        "cli",
        "enough",
    )
    assert "cancelled" in shell.run("show", execution_id).stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_the_run_with_its_cause(
    shell: Shell, flows: str, number: signal.Signals
) -> None:
    run = shell.start("run", f"{flows}:endless", "--json")
    assert run.stdout is not None
    while json.loads(run.stdout.readline())["type"] != "node.started":
        pass
    run.send_signal(number)
    assert run.wait() == 130
    end = events(run.stdout.read())[-1]
    assert (end["type"], end["data"]["reason"]) == ("execution.cancelled", number.name)


def test_a_signal_to_exec_ends_the_command(shell: Shell) -> None:
    run = shell.start("exec", "--", "sh", "-c", "echo $$; sleep 1000")
    assert run.stdout is not None
    pid = int(run.stdout.readline())
    with ending(pid):
        run.send_signal(signal.SIGTERM)
        assert run.wait() == 130


def test_a_tail_that_is_interrupted_leaves_the_execution_alone(shell: Shell, flows: str) -> None:
    run = shell.start("run", f"{flows}:endless", "--json")
    execution_id = shell.started_id(run)
    tail = shell.start("tail", execution_id, "--json")
    assert tail.stdout is not None
    tail.stdout.readline()
    tail.send_signal(signal.SIGINT)
    assert tail.wait() == 130
    assert run.poll() is None


def test_tail_resumes_and_stops_where_it_is_told(shell: Shell, flows: str) -> None:
    shell.run("run", f"{flows}:doubled")
    ids = [event["id"] for event in events(shell.run("tail", "--after", "3", "--json").stdout)]
    assert ids == [4, 5]
    assert len(shell.run("tail", "--no-follow").stdout.splitlines()) == 5


@pytest.mark.parametrize("form", [[], ["--json"], ["--raw"]])
def test_a_tail_whose_reader_leaves_says_nothing_of_it(shell: Shell, form: list[str]) -> None:
    shell.run("exec", "seq", "10000")  # more than a pipe holds
    with shell.start("tail", *form) as tail:
        assert tail.stdout is not None
        assert tail.stderr is not None
        tail.stdout.readline()
        tail.stdout.close()
        assert tail.stderr.read() == ""
    assert tail.returncode == 1


def test_lists_and_shows(shell: Shell, flows: str) -> None:
    assert "tailrace run etl" in shell.run("ls").stderr
    shell.run("run", f"{flows}:doubled")
    assert "tailrace run etl" not in shell.run("ls", "--status", "running").stderr
    (row,) = events(shell.run("ls", "--json").stdout)
    assert (row["flow"], row["status"], row["head"]) == ("doubled", "completed", 5)
    assert row["execution_id"] in shell.run("ls").stdout
    shown = json.loads(shell.run("show", row["execution_id"], "--json").stdout)
    assert (shown["output"], shown["nodes"][0]["status"]) == (2, "completed")
    then = json.loads(shell.run("show", row["execution_id"], "--at", "3", "--json").stdout)
    assert (then["status"], then["nodes"][0]["status"]) == ("running", "running")


def test_graphs_are_drawn_and_checked(shell: Shell) -> None:
    ir = json.loads(shell.run("graph", "s2_site", "--json").stdout)
    assert (ir["capture"], ir["nodes"][-1]["streaming"]) == ("watch", True)
    assert shell.run("graph", "etl", "--mermaid").stdout.startswith("flowchart TD\n")
    assert shell.run("graph", "etl", "--dot").stdout.startswith('digraph "etl"')
    assert "by_country" in shell.run("graph", "etl").stdout
    assert shell.run("graph", "etl", "--check").returncode == 0
    (shell.folder / "cyclic.json").write_text(
        json.dumps(ir | {"edges": [*ir["edges"], {"from": "watch", "to": "probe"}]})
    )
    done = shell.run("graph", "cyclic.json", "--check")
    assert done.returncode == 1
    assert done.stdout.startswith("cycle at ")


def test_a_terminal_gets_a_live_tree_in_colour(shell: Shell) -> None:
    """In a pseudo-terminal, as in a person's shell."""
    output = bytearray()

    def read(descriptor: int) -> bytes:
        chunk = os.read(descriptor, 4096)
        output.extend(chunk)
        return chunk

    environment = os.environ.copy()
    os.environ.update(shell.env | {"TERM": "xterm-256color"})
    os.environ.pop("NO_COLOR")
    try:
        status = pty.spawn([COMMAND, "run", "etl"], read, lambda _: b"")
    finally:
        os.environ.clear()
        os.environ.update(environment)
    assert os.waitstatus_to_exitcode(status) == 0
    text = output.decode()
    assert "\x1b[" in text
    assert "report" in text


def test_what_the_environment_calls_secret_is_not_kept(shell: Shell) -> None:
    command = ["exec", "--redact-env", "DB_PASSWORD", "--", "sh", "-c", "echo is $DB_PASSWORD"]
    said = shell.run(*command, env={"DB_PASSWORD": "correct horse"})
    assert said.stdout == "is correct horse\n"  # the command's own output passes through
    assert shell.run("tail", "--raw").stdout == "is [redacted:secret]\n"
    missing = shell.run(*command)
    assert missing.returncode == 2
    assert "DB_PASSWORD is not set" in missing.stderr


# --- a server elsewhere -----------------------------------------------------------------------

NOWHERE = "http://127.0.0.1:1"


def test_a_server_that_is_not_there_is_said_at_once(shell: Shell) -> None:
    for command in (["ls"], ["tail"], ["tail", "X1"], ["tail", "--all"], ["show", "X1"]):
        done = shell.run(*command, "--url", NOWHERE)
        assert done.returncode == 1
        (line,) = done.stderr.strip().splitlines()
        assert line.startswith(f"error[connection_lost]: {NOWHERE} does not answer: All conn")
    assert shell.run("ls", "--url", "nonsense").stderr.startswith("error[invalid_request]: 'nons")


def test_every_command_finds_what_is_in_another_workspace(shell: Shell, flows: str) -> None:
    _, url = shell.serve(flows)
    answer = httpx.post(f"{url}/api/v1/workspaces/acme/executions", json={"flow": "endless"})
    execution_id = answer.json()["execution_id"]
    there = ("--url", url, "--workspace", "acme")
    assert shell.run("show", execution_id, "--url", url).returncode == 2
    assert "forever" in shell.run("show", execution_id, *there).stdout
    # It may have ended before the command looks again.
    said = shell.run("cancel", execution_id, *there).stdout
    assert "cancelling" in said or "cancelled" in said
    assert shell.run("tail", *there).returncode == 130
    assert shell.run("tail", "--workspace", "acme").returncode == 130


def test_a_tail_says_that_its_server_is_gone(shell: Shell, flows: str) -> None:
    server, url = shell.serve(flows)
    execution_id = httpx.post(
        f"{url}/api/v1/workspaces/default/executions", json={"flow": "endless"}
    ).json()["execution_id"]
    tail = shell.start("tail", execution_id, "--url", url)
    heard(tail.stdout, "node.started")
    server.kill()
    assert execution_id in heard(tail.stderr, "trying again in ")


def test_the_shell_completes_from_the_store_that_is_meant(shell: Shell) -> None:
    completing = {"_TAILRACE_COMPLETE": "bash_complete", "COMP_CWORD": "2"}
    shell.run("exec", "true")
    (row,) = events(shell.run("ls", "--json").stdout)
    began = row["execution_id"][:9].lower()
    done = shell.run(env=completing | {"COMP_WORDS": f"tailrace show {began}"})
    assert done.stdout == f"plain,{row['execution_id']}\n"
    elsewhere = {"COMP_WORDS": f"tailrace show --store memory: {began}", "COMP_CWORD": "4"}
    assert shell.run(env=completing | elsewhere).stdout.strip() == ""
    broken = completing | {"COMP_WORDS": "tailrace show 0", "TAILRACE_STORE": "nonsense"}
    assert shell.run(env=broken).stderr == ""
