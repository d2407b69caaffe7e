"""`tailrace doctor` against real proxies: each way to break a stream is found, and named."""

import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import needs
from tests.e2e.conftest import Shell, curl, events, heard

RECOMMENDED = Path(__file__).parents[2] / "examples/proxies/nginx.conf"
PLAIN = """
events {}
http {
    server {
        listen 127.0.0.1:PORT;
        location / { proxy_pass UPSTREAM; proxy_http_version 1.1; LOCATION }
    }
}
"""
# What the tests change in every configuration: where it writes, so that any user may run it.
OWN = "client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s; access_log off;"

Proxy = Callable[[str], int]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    """Starts nginx with a configuration in which PORT stands for a free port, and returns that."""
    needs("nginx")
    running: list[subprocess.Popen[str]] = []

    def start(config: str) -> int:
        port, prefix = free_port(), tmp_path / f"nginx{len(running)}"
        prefix.mkdir()
        text = config.replace("PORT", str(port)).replace("http {", f"http {{ {OWN}")
        (prefix / "nginx.conf").write_text(text)
        # One process, in the foreground: killing it leaves nothing behind.
        # And talkative: how it will wait for events it says when it listens.
        alone = f"daemon off; master_process off; pid {prefix}/pid; error_log stderr notice;"
        process = subprocess.Popen(
            ["nginx", "-p", str(prefix), "-c", "nginx.conf", "-e", "stderr", "-g", alone],
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        heard(process.stderr, "event method")
        return port

    yield start
    for process in running:
        process.kill()
        process.communicate()


def findings(shell: Shell, url: str, *options: str, **env: str) -> tuple[int, dict[str, Any]]:
    """The exit status, and the findings by their codes."""
    done = shell.run("doctor", url, "--json", *options, env=env)
    return done.returncode, {finding["code"]: finding for finding in events(done.stdout)}


def problems(found: dict[str, Any]) -> set[str]:
    return {code for code, finding in found.items() if finding["level"] == "problem"}


def behind(shell: Shell, proxy: Proxy, location: str) -> str:
    """A server behind an nginx with these lines in its location; returns the proxy's URL."""
    _, upstream = shell.serve()
    return f"http://127.0.0.1:{proxy(PLAIN.replace('UPSTREAM', upstream).replace('LOCATION', location))}"


def test_a_direct_way_passes(shell: Shell) -> None:
    _, url = shell.serve("--heartbeat-s", "1")
    status, found = findings(shell, url, "--idle-s", "1.5")
    assert (status, problems(found)) == (0, set())
    assert "1 of 1 heartbeats" in found["idle"]["measured"]
    assert "HTTP/1.1" in found["reach"]["measured"]


def test_a_proxy_with_its_defaults_passes_by_the_headers_of_every_stream(
    shell: Shell, proxy: Proxy
) -> None:
    status, found = findings(shell, behind(shell, proxy, ""), "--idle-s", "0")
    assert (status, problems(found)) == (0, set())
    assert "idle" not in found


def test_buffering_is_found_out(shell: Shell, proxy: Proxy) -> None:
    """Two in a row, with their defaults: the first keeps X-Accel-Buffering to itself, and answers
    the second's HTTP/1.0 without chunks, of which that one then fills whole buffers."""
    inner = behind(shell, proxy, "")
    old = PLAIN.replace("proxy_http_version 1.1;", "").replace("LOCATION", "")
    url = f"http://127.0.0.1:{proxy(old.replace('UPSTREAM', inner))}"
    status, found = findings(shell, url, "--idle-s", "0")
    assert (status, problems(found)) == (1, {"buffering"})
    assert "in one piece" in found["buffering"]["measured"]
    assert "proxy_buffering off" in found["buffering"]["advice"]


def test_what_ignores_the_header_but_passes_chunks_on_is_not_accused(
    shell: Shell, proxy: Proxy
) -> None:
    """nginx's buffer holds back what a client cannot take yet, and of chunks nothing else."""
    url = behind(shell, proxy, "proxy_ignore_headers X-Accel-Buffering;")
    status, found = findings(shell, url, "--idle-s", "0")
    assert (status, problems(found)) == (0, set())


def test_a_compressor_that_holds_frames_back_is_found_out(shell: Shell, proxy: Proxy) -> None:
    location = "gzip on; gzip_types *; gzip_min_length 1; proxy_ignore_headers X-Accel-Buffering;"
    status, found = findings(shell, behind(shell, proxy, location), "--idle-s", "0")
    assert (status, problems(found)) == (1, {"compression"})
    assert "in one piece" in found["compression"]["measured"]


def test_compression_is_found_out(shell: Shell, proxy: Proxy) -> None:
    location = "gzip on; gzip_types text/event-stream; gzip_min_length 1;"
    status, found = findings(shell, behind(shell, proxy, location), "--idle-s", "0")
    assert (status, problems(found)) == (1, {"compression"})
    assert "gzip off" in found["compression"]["advice"]


def test_a_cut_of_silent_connections_is_found_out(shell: Shell, proxy: Proxy) -> None:
    url = behind(shell, proxy, "proxy_read_timeout 1s;")
    status, found = findings(shell, url, "--idle-s", "3")
    assert (status, problems(found)) == (1, {"idle"})
    assert "proxy_read_timeout" in found["idle"]["advice"]
    assert found["idle_without_heartbeats"]["level"] == "note"
    seconds = re.search(r"Cut after ([\d.]+) s", found["idle"]["measured"])
    assert seconds is not None
    assert 0.9 <= float(seconds[1]) < 3


def test_a_cut_that_heartbeats_prevent_is_a_note(shell: Shell, proxy: Proxy) -> None:
    _, upstream = shell.serve("--heartbeat-s", "0.5")
    config = PLAIN.replace("UPSTREAM", upstream).replace("LOCATION", "proxy_read_timeout 2s;")
    status, found = findings(shell, f"http://127.0.0.1:{proxy(config)}", "--idle-s", "4")
    assert (status, problems(found)) == (0, set())
    assert found["idle"]["level"] == "ok"
    assert found["idle_without_heartbeats"]["level"] == "note"


def test_a_dropped_last_event_id_is_found_out(shell: Shell, proxy: Proxy) -> None:
    url = behind(shell, proxy, 'proxy_set_header Last-Event-ID "";')
    status, found = findings(shell, url, "--idle-s", "0")
    assert (status, problems(found)) == (1, {"request_headers"})
    assert "Last-Event-ID" in found["request_headers"]["measured"]


def test_lost_headers_and_an_old_protocol_are_found_out(shell: Shell, proxy: Proxy) -> None:
    location = "proxy_hide_header Cache-Control; proxy_set_header Accept '';"
    _, upstream = shell.serve()
    config = PLAIN.replace("proxy_http_version 1.1;", "").replace("UPSTREAM", upstream)
    url = f"http://127.0.0.1:{proxy(config.replace('LOCATION', location))}"
    status, found = findings(shell, url, "--idle-s", "0")
    assert (status, problems(found)) == (1, {"response_headers"})
    assert found["request_headers"]["level"] == "note"
    assert found["upstream"]["level"] == "note"


def test_the_recommended_configuration_passes_and_offers_http2(
    shell: Shell, proxy: Proxy, tmp_path: Path
) -> None:
    needs("nginx", "openssl")
    _, upstream = shell.serve("--heartbeat-s", "1")
    pem, key = str(tmp_path / "cert.pem"), str(tmp_path / "cert.key")
    make = (
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    )
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", pem]
    subprocess.run(["openssl", *make.split(), *names], check=True, capture_output=True)
    config = RECOMMENDED.read_text()
    for theirs, ours in (
        ("listen 443 ssl", "listen 127.0.0.1:PORT ssl"),
        ("/etc/ssl/example.org.pem", pem),
        ("/etc/ssl/example.org.key", key),
        ("127.0.0.1:8787", upstream.removeprefix("http://")),
    ):
        assert config.count(theirs) >= 1
        config = re.sub(
            rf"^([^#\n]*){re.escape(theirs)}", rf"\g<1>{ours}", config, flags=re.MULTILINE
        )
    url = f"https://127.0.0.1:{proxy(config)}"
    status, found = findings(shell, url, "--idle-s", "1.5", SSL_CERT_FILE=pem)
    assert (status, problems(found)) == (0, set())
    assert {finding["level"] for finding in found.values()} == {"ok"}
    assert "HTTP/2" in found["multiplexing"]["measured"]
    version = ["--http2", "--cacert", pem, "-o", "/dev/null", "-w", "%{http_version}"]
    assert curl(f"{url}/api/v1/probe?count=1", *version).stdout == "2"


def test_where_nothing_listens_is_said(shell: Shell) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = shell.run("doctor", url)
    assert done.returncode == 1
    assert done.stdout.startswith("✗ problem reach")
    assert f"{url} does not answer" in done.stdout
    assert "1 problem;" in done.stderr


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("return 200 hello;", "it is not a Tailrace"),
        ("return 404;", "answered 404"),
        ("return 301 https://example.org/;", "try https://example.org/"),
        ("return 401;", "asks for credentials"),
        ("proxy_pass http://127.0.0.1:1;", "cannot reach the server behind it"),
    ],
)
def test_what_is_no_tailrace_is_said(shell: Shell, proxy: Proxy, answer: str, said: str) -> None:
    config = re.sub(r"location .*", f"location / {{ {answer} }}", PLAIN)
    status, found = findings(shell, f"http://127.0.0.1:{proxy(config)}")
    assert (status, list(found)) == (1, ["reach"])
    assert said in f"{found['reach']['measured']} {found['reach']['advice']}"


def test_a_wrong_prefix_of_a_tailrace_is_said(shell: Shell) -> None:
    _, url = shell.serve()
    status, found = findings(shell, f"{url}/nowhere")
    assert (status, list(found)) == (1, ["reach"])
    assert "prefix" in found["reach"]["advice"]


def test_what_is_no_url_is_a_usage_error(shell: Shell) -> None:
    for url in ("example.org", "ftp://example.org", "http://", "http://a:b"):
        done = shell.run("doctor", url)
        assert done.returncode == 2
        assert done.stderr.startswith("error[invalid_request]: ")
    assert shell.run("doctor", "http://127.0.0.1:1", "--idle-s", "121").returncode == 2
