"""LangGraph's development server (`langgraph dev`, in memory), followed at its own run stream.

    python benchmarks/peers/langgraph_dev.py PORT STREAMS

Versions: langgraph-cli[inmem] 0.4, langgraph-api 0.16, langgraph 1.2. It runs offline and without
a key. Follows https://reference.langchain.com/python/langgraph-cli/cli/dev (--no-browser
--no-reload, and --n-jobs-per-worker STREAMS, as every stream is a run that stays), streams custom
data as its docs say (get_stream_writer in a node, stream_mode "custom"), and has the control
endpoints in the server process and on the same port as custom routes (`http.app` in langgraph.json,
https://docs.langchain.com/langsmith/custom-routes).

A stream is a background run on a thread of its own (POST /threads/{id}/runs with stream_mode custom
and stream_resumable), joined at GET /threads/{id}/runs/{id}/stream?stream_mode=custom. Any number
of clients may join a run; a joiner without Last-Event-ID gets what comes after it joined. The
server names every event `custom`, and its own ids are times. It keeps all events in memory.

The node of each run lends its stream writer (and the context it needs) to /go, which calls it once
for each event.

This file is the program (it writes langgraph.json, starts the server and the runs and waits) and
also the module the server imports: `graph` and `app`.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextvars import copy_context
from pathlib import Path
from typing import Any, TypedDict

from _producer import Event, State, arguments, control_routes, exit_on_sigterm, pad, produce
from langchain_core.runnables import RunnableConfig
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from starlette.applications import Starlette

STREAMS = "BENCH_STREAMS"
READY_S = 50.0
FRAMING = len("event: custom\r\ndata: \r\nid: 1795245979374-0\r\n\r\n")
JsonObject = dict[str, Any]

writers: dict[int, Callable[[Event], None]] = {}
run_paths: dict[int, str] = {}


class Stream(TypedDict):
    stream: int


async def lend_writer(state: Stream, config: RunnableConfig) -> JsonObject:
    """A node that ends with the server."""
    told = config["configurable"]
    run_paths[state["stream"]] = (
        f"/threads/{told['thread_id']}/runs/{told['run_id']}/stream?stream_mode=custom"
    )
    context, writer = copy_context(), get_stream_writer()
    writers[state["stream"]] = lambda event: context.run(writer, event)
    await asyncio.Event().wait()
    return {}


def build_graph() -> Any:
    builder = StateGraph(Stream)
    builder.add_node("bench", lend_writer)
    builder.add_edge(START, "bench")
    builder.add_edge("bench", END)
    return builder.compile()


def build_app(streams: int) -> Starlette:
    state = State(streams, pad(FRAMING))

    def write(stream: int, event: Event) -> None:
        writers[stream](event)

    async def go(rate: float, seconds: float) -> None:
        await produce(state, rate, seconds, write)

    def paths() -> list[str]:
        return [run_paths[stream] for stream in sorted(run_paths)]

    return Starlette(routes=control_routes(state, paths, go))


def ask(port: int, path: str, body: JsonObject | None = None) -> Any:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
    if body is not None:
        request.add_header("Content-Type", "application/json")
        request.data = json.dumps(body).encode()
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def begin_runs(port: int, streams: int, server: subprocess.Popen[bytes]) -> None:
    """Wait for the server, start a run for each stream and wait until all nodes run."""
    deadline, begun = time.monotonic() + READY_S, 0
    while begun < streams or len(ask(port, "/paths")) < streams:
        if server.poll() is not None or time.monotonic() > deadline:
            sys.stderr.write("langgraph dev did not start its runs\n")
            sys.exit(3)
        try:
            ask(port, "/ok")
        except OSError:
            time.sleep(0.1)
            continue
        for stream in range(begun, streams):
            thread_id = ask(port, "/threads", {})["thread_id"]
            run: JsonObject = {"assistant_id": "bench", "input": {"stream": stream}}
            run |= {"stream_mode": ["custom"], "stream_resumable": True}
            ask(port, f"/threads/{thread_id}/runs", run)
        begun = streams
        time.sleep(0.1)


def main() -> None:
    port, streams = arguments()
    exit_on_sigterm()
    here = Path(__file__)
    served = {
        "dependencies": ["."],
        "graphs": {"bench": f"{here.stem}:graph"},
        "http": {"app": f"{here.stem}:app"},
    }
    environment = {
        "PYTHONPATH": str(here.parent),
        "PYTHONDONTWRITEBYTECODE": "1",
        STREAMS: str(streams),
        "LANGGRAPH_CLI_NO_ANALYTICS": "1",
        "LANGSMITH_TRACING": "false",
        "LOG_LEVEL": "ERROR",
    }
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "langgraph.json").write_text(json.dumps(served))
        command = [str(Path(sys.executable).parent / "langgraph"), "dev"]
        command += ["--no-browser", "--no-reload", "--port", str(port)]
        command += ["--n-jobs-per-worker", str(streams), "--server-log-level", "ERROR"]
        server = subprocess.Popen(
            command, cwd=folder, env=os.environ | environment, stdout=subprocess.DEVNULL
        )
        try:
            begin_runs(port, streams, server)
            print("ready", flush=True)
            server.wait()
        finally:
            server.terminate()
            try:
                server.wait(3)
            except subprocess.TimeoutExpired:
                server.kill()


if __name__ == "__main__":
    main()
else:
    graph = build_graph()
    app = build_app(int(os.environ[STREAMS]))
