"""Every server that is measured: what it needs, and how it is started.

Each set-up follows what the peer's own documents recommend; the programs in peers/ say where.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from benchmarks.harness import HERE, Server, Unavailable, build, free_port, running, venv

ASGI = ("uvicorn", "uvloop", "httptools")
NEEDS = {
    "sse-starlette": ("starlette_sse.py", ("sse-starlette", "starlette", *ASGI)),
    "fastapi": ("fastapi_sse.py", ("fastapi", *ASGI)),
    "redis+sse-starlette": ("redis_sse.py", ("redis", "sse-starlette", "starlette", *ASGI)),
    "llama-agents": ("llama_server.py", ("llama-agents-server", *ASGI)),
    "dbos": ("dbos_streams.py", ("dbos", "starlette", *ASGI)),
    "langgraph": ("langgraph_dev.py", ("langgraph-cli[inmem]",)),
}
NCHAN = """
daemon off; worker_processes 1; worker_rlimit_nofile 65536;
error_log {folder}/error.log warn; pid {folder}/nginx.pid;
load_module /usr/lib/nginx/modules/ngx_nchan_module.so;
events {{ worker_connections 60000; }}
http {{
  access_log off; tcp_nodelay on; keepalive_requests 1000000000; nchan_shared_memory_size 512M;
  client_body_temp_path {folder}/body;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location ~ ^/pub/(\\w+)$ {{
      nchan_publisher; nchan_channel_id $1; nchan_message_buffer_length 4096;
      nchan_message_timeout 10m;
    }}
    location ~ ^/sub/(\\w+)$ {{
      nchan_subscriber eventsource; nchan_channel_id $1;
      nchan_subscriber_first_message oldest;
    }}
  }}
}}
"""


def debian(package: str, file: str) -> None:
    """Make sure of a Debian package. Raises Unavailable."""
    if Path(file).exists():
        return
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        raise Unavailable(f"{file} is missing: install Debian's {package}")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", package]):
        done = subprocess.run(
            [apt, "-qq", *command], check=False, capture_output=True, text=True, env=environment
        )
        if done.returncode:
            raise Unavailable(f"apt-get {command[0]}: {(done.stderr.splitlines() or ['?'])[-1]}")


def tailrace(streams: int = 1, *options: str) -> AbstractContextManager[Server]:
    """Tailrace, durable append to SQLite on."""
    port = free_port()
    command = [sys.executable, str(HERE / "ours.py"), str(port), str(streams), *options]
    return running("tailrace", command, port=port)


@contextmanager
def nchan(streams: int = 1) -> Iterator[Server]:
    """Nchan in one nginx worker; fed over HTTP by the load generator, as it is meant to be."""
    debian("libnginx-mod-nchan", "/usr/lib/nginx/modules/ngx_nchan_module.so")
    debian("nginx-light", "/usr/sbin/nginx")
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)  # nginx's worker is another user
        file = Path(folder) / "nginx.conf"
        file.write_text(NCHAN.format(port=port, folder=folder))
        paths = [f"/sub/{number}" for number in range(streams)]
        command = ["/usr/sbin/nginx", "-c", str(file)]
        with running("nchan", command, port=port, paths=paths, publish="/pub/%d") as server:
            yield server


def limit(streams: int = 1) -> AbstractContextManager[Server]:
    """The C program that only writes."""
    port = free_port()
    return running("limit", [build("limit"), str(port)], port=port)


def durable_streams(streams: int = 1) -> AbstractContextManager[Server]:
    """The Durable Streams reference server, in node."""
    folder = HERE.parent / ".venv-bench" / "node"
    if not (folder / "node_modules" / "@durable-streams" / "server").exists():
        if shutil.which("npm") is None:
            raise Unavailable("there is no npm; install Node.js")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"private": true}')
        command = ["npm", "install", "--no-fund", "--no-audit", "@durable-streams/server"]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder)
        if done.returncode:
            raise Unavailable(f"npm: {(done.stderr.splitlines() or ['?'])[-1]}")
    port = free_port()
    program = HERE / "peers" / "durable_streams.mjs"
    return running(
        "durable-streams", ["node", program, str(port), str(streams)], port=port, cwd=folder
    )


def _python(name: str) -> Callable[[int], AbstractContextManager[Server]]:
    program, packages = NEEDS[name]

    def start(streams: int = 1) -> AbstractContextManager[Server]:
        if name == "redis+sse-starlette":
            debian("redis-server", "/usr/bin/redis-server")
        python, port = venv(*packages), free_port()
        command: list[str | Path] = [python, HERE / "peers" / program, str(port), str(streams)]
        return running(name, command, port=port)

    return start


SERVERS: dict[str, Callable[..., AbstractContextManager[Server]]] = {
    "tailrace": tailrace,
    "nchan": nchan,
    "limit": limit,
    "durable-streams": durable_streams,
    **{name: _python(name) for name in NEEDS},
}


def versions() -> dict[str, str]:
    """What was measured, as the installers know it."""
    found = {}
    for name, (_, packages) in NEEDS.items():
        python = HERE.parent / ".venv-bench" / "bin" / "python"
        if python.exists():
            package = packages[0].partition("[")[0]
            script = f"import importlib.metadata as m; print(m.version({package!r}))"
            done = subprocess.run(
                [python, "-c", script], check=False, capture_output=True, text=True
            )
            if done.returncode == 0:
                found[name] = f"{package} {done.stdout.strip()}"
    listed = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${Version}\n", "libnginx-mod-nchan", "redis-server"],
        check=False,
        capture_output=True,
        text=True,
    )
    found["debian"] = ", ".join(listed.stdout.split("\n")).strip(", ")
    return found
