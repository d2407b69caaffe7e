"""Access control with the real commands: a key is made, a server asks for it, and it is revoked."""

import json

import httpx
import pytest

from tests.e2e.conftest import Shell, curl, heard, start_flow, stream_url, wire_ids


def make_key(shell: Shell, *arguments: str) -> str:
    made = shell.run("token", "create", *arguments)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def test_it_does_not_listen_to_other_machines_without_asking_who_is_there(shell: Shell) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1"):
        refused = shell.run("serve", "--host", host, "--port", "0")
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "error[auth_required]" in refused.stderr
        assert "--no-auth" in refused.stderr
    refused = shell.run("demo", "--host", "0.0.0.0", "--port", "0")
    assert "error[auth_required]" in refused.stderr


@pytest.mark.parametrize("flag", ["--auth", "--no-auth"])
def test_it_listens_everywhere_when_that_was_said(shell: Shell, flag: str) -> None:
    _, url = shell.serve("--host", "0.0.0.0", flag)
    port = url.rpartition(":")[2]
    answer = httpx.get(f"http://127.0.0.1:{port}/api/v1/catalog", headers={"Host": "example.org"})
    assert answer.status_code == (401 if flag == "--auth" else 200)


def test_a_server_for_this_machine_has_no_other_name(shell: Shell) -> None:
    """A page whose name was made to point here is of the same origin to its browser."""
    _, url = shell.serve()
    assert httpx.get(f"{url}/healthz").status_code == 200
    evil = httpx.get(f"{url}/healthz", headers={"Host": "evil.example"})
    assert (evil.status_code, evil.json()["code"]) == (421, "wrong_host")


def test_a_key_from_the_terminal_to_curl(shell: Shell) -> None:
    viewer, operator = (
        make_key(shell, "--role", "viewer", "--name", "ann"),
        make_key(shell, "--role", "operator"),
    )
    elsewhere = make_key(shell, "--workspace", "other", "--role", "admin")
    _, url = shell.serve("etl", "--auth")
    run = httpx.post(
        f"{url}/api/v1/workspaces/default/executions",
        json={"flow": "etl"},
        headers={"Authorization": f"Bearer {operator}", "Prefer": "wait=15"},
    )
    assert run.json()["status"] == "completed"
    stream = stream_url(url, run.json()["execution_id"])
    followed = curl(stream, "-H", f"Authorization: Bearer {viewer}")
    assert wire_ids(followed.stdout) == list(range(1, run.json()["head"] + 1))
    for header, status in (("X: y", 401), (f"Authorization: Bearer {elsewhere}", 404)):
        refused = curl(stream, "-o", "/dev/null", "-w", "%{http_code}", "-H", header)
        assert refused.stdout == str(status)
    listed = shell.run("ls", "--url", url, "--json", env={"TAILRACE_TOKEN": viewer})
    assert json.loads(listed.stdout)["status"] == "completed"
    listed = shell.run("ls", "--url", url)
    assert (listed.returncode, "error[unauthenticated]" in listed.stderr) == (1, True)
    forbidden = shell.run("cancel", run.json()["execution_id"], "--url", url, "--token", viewer)
    assert "error[forbidden]" in forbidden.stderr
    doctor = shell.run("doctor", url, "--idle-s", "0", "--token", viewer)
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr


def test_a_key_revoked_in_the_terminal_ends_a_stream_in_the_server(shell: Shell) -> None:
    """Another process than the one that streams; the store is what they share."""
    key = make_key(shell, "--role", "operator")
    server, url = shell.serve("s2_site", "--auth")
    header = f"Authorization: Bearer {key}"
    started = httpx.post(
        f"{url}/api/v1/workspaces/default/executions",
        json={"flow": "s2_site", "input": {"site": f"{url}/healthz", "updates": 100}},
        headers=dict([header.split(": ")]),
    )
    stream = stream_url(url, started.json()["execution_id"])
    follower = shell.watch(stream, "-H", header)
    heard(follower.stdout, "stream.open")
    listed = json.loads(shell.run("token", "list", "--json").stdout)
    assert (listed["state"], "token" in listed) == ("good", False)
    assert shell.run("token", "revoke", listed["id"]).returncode == 0
    rest = follower.communicate()[0]
    assert '"reason":"revoked"' in rest.splitlines()[-2]
    refused = curl(stream, "-o", "/dev/null", "-w", "%{http_code}", "-H", header)
    assert refused.stdout == "401"
    assert json.loads(shell.run("token", "list", "--json").stdout)["state"] == "revoked"
    server.terminate()
    _, errors = server.communicate(timeout=15)
    assert key not in errors


def test_what_a_key_may_not_be(shell: Shell) -> None:
    for wrong, says in (
        (("--expires", "yesterday"), "invalid_request"),
        (("--expires", "2020-01-01"), "invalid_request"),
        (("--role", "owner"), "owner"),
    ):
        refused = shell.run("token", "create", *wrong)
        assert (refused.returncode, says in refused.stderr) == (2, True), refused.stderr
    unknown = shell.run("token", "revoke", "nothing")
    assert "error[token_invalid]" in unknown.stderr
    for expires in ("never", "30m", "2100-01-01"):
        made = shell.run("token", "create", "--expires", expires, "--json")
        until_ = json.loads(made.stdout)["expires_at"]
        assert (until_ is None) == (expires == "never")


def test_the_servers_own_flows_still_start(shell: Shell) -> None:
    """Without a flag nothing is asked on this machine, as before."""
    _, url = shell.serve("etl")
    assert start_flow(url, "etl")
