"""Servers, files and processes: following across them, restarts, kill -9, shutdown."""

import json
import re
import signal
import time

import httpx

from tests.e2e.conftest import Shell, curl, events, heard, start_flow, stream_url, wire_ids

SITE = {"site": "http://127.0.0.1:9", "every_ms": 20}  # nothing listens there: down at once


def test_curl_gets_every_id_once_before_during_and_after(shell: Shell) -> None:
    _, url = shell.serve("s2_site")
    execution_id = start_flow(url, "s2_site", **SITE, updates=20)
    during = curl(stream_url(url, execution_id)).stdout
    after = curl(stream_url(url, execution_id)).stdout
    ids = wire_ids(during)
    assert ids == list(range(1, ids[-1] + 1))
    assert wire_ids(after) == ids
    for text in (during, after):
        assert re.findall(r"^event: (.*)$", text, re.MULTILINE)[-1] == "execution.completed"
    last = ["-H", f"Last-Event-ID: {ids[-1]}"]
    status = curl(stream_url(url, execution_id), *last, "-o", "/dev/null", "-w", "%{http_code}")
    assert status.stdout == "204"
    resumed = curl(stream_url(url, execution_id), "-H", "Last-Event-ID: 5").stdout
    assert wire_ids(resumed) == ids[5:]


def test_a_run_in_one_process_is_followed_through_a_server_in_another(shell: Shell) -> None:
    _, url = shell.serve()
    given = json.dumps(SITE | {"updates": 15})
    run = shell.start("run", "s2_site", "--input", given, "--json")
    execution_id = shell.started_id(run)
    followed = curl(stream_url(url, execution_id)).stdout
    assert run.stdout is not None
    assert run.wait() == 0
    assert wire_ids(followed) == [event["id"] for event in events(run.stdout.read())]
    tailed = shell.run("tail", execution_id, "--url", url, "--json").stdout
    assert [event["id"] for event in events(tailed)] == wire_ids(followed)
    listed = shell.run("ls", "--url", url, "--json").stdout
    assert execution_id in listed


def test_a_server_with_fifty_streams_is_gone_in_time_and_all_resume(shell: Shell) -> None:
    server, url = shell.serve("s2_site")
    execution_id = start_flow(url, "s2_site", **SITE | {"every_ms": 60_000}, updates=5)
    streams = [shell.watch(stream_url(url, execution_id)) for _ in range(50)]
    begun = [heard(stream.stdout, "stream.open") for stream in streams]
    assert httpx.get(f"{url}/readyz").json()["watching"] == 50
    began = time.monotonic()
    server.send_signal(signal.SIGTERM)
    server.wait()
    assert time.monotonic() - began < 10  # the drain time
    texts = [first + stream.communicate()[0] for first, stream in zip(begun, streams, strict=True)]
    assert all("event: stream.closing\n" in text for text in texts)
    _, url = shell.serve()
    whole = curl(stream_url(url, execution_id)).stdout
    assert re.findall(r"^event: (.*)$", whole, re.MULTILINE)[-1] == "execution.cancelled"
    assert '"reason":"shutdown"' in whole
    for text in texts[:5]:
        seen = wire_ids(text)
        rest = curl(stream_url(url, execution_id), "-H", f"Last-Event-ID: {seen[-1]}").stdout
        assert seen + wire_ids(rest) == wire_ids(whole)


def test_a_killed_worker_ends_as_lost_and_its_watchers_are_told(shell: Shell) -> None:
    _, url = shell.serve("--lease-s", "0.5")
    given = json.dumps(SITE | {"updates": 1000, "every_ms": 50})
    run = shell.start("run", "s2_site", "--input", given, TAILRACE_LEASE_S="0.5")
    execution_id = shell.started_id(run)
    stream = shell.watch(stream_url(url, execution_id))
    heard(stream.stdout, "output.item")
    run.kill()
    rest = stream.communicate()[0]
    assert re.findall(r"^event: (.*)$", rest, re.MULTILINE)[-1] == "execution.lost"
    ids = wire_ids(curl(stream_url(url, execution_id)).stdout)
    assert ids == list(range(1, ids[-1] + 1))


def test_a_killed_server_loses_no_acknowledged_event(shell: Shell) -> None:
    server, url = shell.serve("s2_site", "--lease-s", "0.5")
    execution_id = start_flow(url, "s2_site", **SITE, updates=10_000)
    stream = shell.watch(stream_url(url, execution_id))
    seen = heard(stream.stdout, "id: 40\n")
    server.kill()
    seen += stream.communicate()[0]
    delivered = wire_ids(seen[: seen.rindex("\n\n")])
    # The next server finds the lease run out, and says so in the same log.
    _, url = shell.serve("--lease-s", "0.5")
    resumed = curl(stream_url(url, execution_id), "-H", f"Last-Event-ID: {delivered[-1]}").stdout
    ids = delivered + wire_ids(resumed)
    assert ids == list(range(1, ids[-1] + 1))
    assert re.findall(r"^event: (.*)$", resumed, re.MULTILINE)[-1] == "execution.lost"


def test_the_python_client_rides_through_a_restart(shell: Shell) -> None:
    server, url = shell.serve("--retry-ms", "50")
    given = json.dumps(SITE | {"updates": 40, "every_ms": 50})
    run = shell.start("run", "s2_site", "--input", given)
    execution_id = shell.started_id(run)
    tail = shell.start("tail", execution_id, "--url", url, "--json")
    assert tail.stdout is not None
    first = [json.loads(tail.stdout.readline())["id"] for _ in range(8)]
    server.send_signal(signal.SIGTERM)
    server.wait()
    port = url.rpartition(":")[2]
    shell.start("serve", "--port", port)
    assert tail.wait() == 0
    ids = first + [event["id"] for event in events(tail.stdout.read())]
    assert ids == list(range(1, ids[-1] + 1))


def test_a_port_in_use_is_one_line(shell: Shell) -> None:
    _, url = shell.serve()
    done = shell.run("serve", "--port", url.rpartition(":")[2])
    assert done.returncode == 1
    assert done.stderr.startswith("error[address_unavailable]: ")


def test_the_demo_shows_two_live_streams_and_exits_0(shell: Shell) -> None:
    done = shell.run("demo", "--updates", "2", "--port", "0")
    assert done.returncode == 0, done.stderr
    assert re.match(r"The live page: http://127\.0\.0\.1:\d+/ui/\n", done.stdout)
    assert "✓ s2_site" in done.stdout
    assert "✓ etl" in done.stdout
    assert '"status":"up"' in done.stdout


def test_a_flow_on_its_own_route_streams_collects_and_answers(shell: Shell) -> None:
    _, url = shell.serve("s2_site", "orders")
    body = ["-X", "POST", "-d", f'{{"site": "{url}/healthz", "updates": 2, "every_ms": 10}}']
    streamed = curl(f"{url}/site/stream", *body).stdout
    stages = re.findall(r'"stage":"(\w+)"', streamed)
    assert stages == ["snapshot", "update_0", "update_1"]
    ids = wire_ids(streamed)
    assert ids == list(range(1, len(ids) + 1))
    assert "event: execution.completed" in streamed
    as_json = ["-H", "accept: application/json"]
    collected = json.loads(curl(f"{url}/site/stream", *body, *as_json).stdout)
    assert [item["stage"] for item in collected] == stages
    plain = json.loads(curl(f"{url}/orders", "-X", "POST", "-d", '{"items": [1000]}').stdout)
    assert plain == {"price": 800, "carrier": "by post, 800 cents", "note": "1: 1000 g"}


def test_a_client_that_leaves_its_request_cancels_it(shell: Shell) -> None:
    _, url = shell.serve("s2_site")
    given = f'{{"site": "{url}/healthz", "updates": 10000, "every_ms": 10}}'
    leaves = shell.watch(f"{url}/site/stream", "-X", "POST", "-d", given)
    heard(leaves.stdout, "update_0")
    leaves.kill()
    running = events(shell.run("ls", "--json").stdout)
    rest = curl(stream_url(url, running[0]["execution_id"])).stdout
    assert re.findall(r"^event: (.*)$", rest, re.MULTILINE)[-1] == "execution.cancelled"
    assert '"by":"client"' in rest
