"""examples/deploy: what it runs are commands that exist, of files that exist, and it can be stopped."""

import configparser
import importlib
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tailrace.cli.main import cli
from tailrace.cli.targets import load_flows
from tailrace.settings import Settings
from tests.conftest import needs

DEPLOY = Path(__file__).parents[2] / "examples/deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
COMPOSE: dict[str, Any] = importlib.import_module("yaml").safe_load(
    (DEPLOY / "compose.yaml").read_text()
)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DRAIN_S = Settings(store="memory:").drain_s


@pytest.fixture(autouse=True)
def blockbuster() -> None:
    """These tests read files and start checkers."""


def parsed(command: str) -> dict[str, Any]:
    """The parameters of one of our command lines, which click has understood."""
    program, verb, *arguments = shlex.split(command)
    assert Path(program).name == "tailrace"
    with cli.commands[verb].make_context(verb, arguments, resilient_parsing=False) as context:
        for target in context.params["targets"]:
            assert load_flows(str(DEPLOY / target))
        return context.params


def ours() -> dict[str, str]:
    return {
        name: service["command"]
        for name, service in SERVICES.items()
        if str(service.get("command", "")).startswith("tailrace ")
    }


def unit(path: Path) -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(path.read_text())
    return parser["Service"]


def test_compose_runs_commands_that_there_are() -> None:
    verbs = [command.split()[1] for command in ours().values()]
    assert sorted(verbs) == ["serve", "serve", "worker", "worker"]
    for command in ours().values():
        found = parsed(command)
        if " serve " in command:
            assert found["host"] == "0.0.0.0"
            assert found["auth"]  # others reach it
            assert found["queue"] == "store"


def test_compose_asks_each_where_it_answers() -> None:
    for name, command in ours().items():
        found = parsed(command)
        port = found["port"] if " serve " in command else found["worker_port"]
        assert f"http://127.0.0.1:{port}/readyz" in SERVICES[name]["healthcheck"]["test"][-1]


def test_compose_mounts_files_that_there_are() -> None:
    for name, service in SERVICES.items():
        for mount in service.get("volumes", []):
            source = mount.partition(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).is_file(), f"{name}: {source}"
            else:
                assert source in COMPOSE["volumes"]
        for needed in service.get("depends_on", []):
            assert needed in SERVICES
        if "env_file" in service:
            assert (DEPLOY / f"{service['env_file']}.example").is_file()
        if build := service.get("build"):
            context = (DEPLOY / build["context"]).resolve()
            lines = (context / build["dockerfile"]).read_text().splitlines()
            copied = [word for x in lines if x.startswith("COPY") for word in x.split()[1:-1]]
            assert copied
            assert all((context / source).exists() for source in copied)


def test_compose_has_no_password_in_it_and_the_log_is_kept() -> None:
    example = dict(
        line.split("=", 1)
        for line in (DEPLOY / "deploy.env.example").read_text().splitlines()
        if line and not line.startswith("#")
    )
    assert example["REDIS_PASSWORD"] == ""
    assert set(example) == {"REDIS_PASSWORD", "TAILRACE_STORE"}
    assert example["TAILRACE_STORE"].startswith("redis://:PASSWORD@redis:")
    redis = " ".join(SERVICES["redis"]["command"])
    for option in ("--appendonly yes", "--maxmemory-policy noeviction", "--requirepass"):
        assert option in redis
    assert "redis:/data" in SERVICES["redis"]["volumes"]


def test_whatever_runs_of_ours_has_time_to_drain() -> None:
    for name in ours():
        assert float(SERVICES[name]["stop_grace_period"].removesuffix("s")) >= DRAIN_S + 5
    for path in UNITS:
        assert float(unit(path)["TimeoutStopSec"]) >= DRAIN_S + 5


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_runs_a_command_that_there_is(path: Path, tmp_path: Path) -> None:
    service = unit(path)
    parsed(service["ExecStart"].replace("%i", "8787"))
    assert service["Restart"] == "always"
    assert service["User"] not in ("", "root")
    if shutil.which("systemd-analyze"):  # of systemd itself, which a container has not
        program = service["ExecStart"].split()[0]
        made = tmp_path / path.name.replace("@", "@8787")
        made.write_text(path.read_text().replace(program, shutil.which("true") or "/bin/true"))
        done = subprocess.run(
            ["systemd-analyze", "verify", made], check=False, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_there_is_a_unit_for_each() -> None:
    assert [path.name for path in UNITS] == ["tailrace-server@.service", "tailrace-worker@.service"]


def test_nginx_takes_its_configuration_and_knows_every_server(tmp_path: Path) -> None:
    needs("nginx")
    text = (DEPLOY / "nginx.conf").read_text()
    upstream = re.findall(r"^ +server ([\w-]+):(\d+)", text, re.MULTILINE)
    ports = {name: parsed(c)["port"] for name, c in ours().items() if " serve " in c}
    assert [(name, str(port)) for name, port in ports.items()] == upstream
    for name, _ in upstream:  # names of compose's network, which nginx looks up when it starts
        text = text.replace(f"server {name}:", "server 127.0.0.1:")
    own = "client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s; access_log off;"
    (tmp_path / "nginx.conf").write_text(text.replace("http {", f"http {{ {own}"))
    alone = f"pid {tmp_path}/pid;"
    done = subprocess.run(
        ["nginx", "-t", "-p", tmp_path, "-c", "nginx.conf", "-e", "stderr", "-g", alone],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr
