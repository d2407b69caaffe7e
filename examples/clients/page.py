"""The page and the streams on one origin, as a browser needs them.

    uvicorn --app-dir examples/clients page:app

Then http://127.0.0.1:8000 starts an execution and follows it. The page itself is browser.html.

The law of this file: an ordinary app that mounts Tailrace, as in docs/embedding.md.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from fastapi import FastAPI
from fastapi.responses import FileResponse, RedirectResponse

from tailrace import Tailrace, flow, node


@node
async def steps(to: int, every_ms: int) -> AsyncIterator[int]:
    """Count."""
    for number in range(1, to + 1):
        await anyio.sleep(every_ms / 1000)
        yield number


@flow
def counting(to: int = 50, every_ms: int = 200) -> object:
    """Count up, visibly."""
    return steps(to, every_ms)


tailrace = Tailrace("memory:", flows=[counting])


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Open the log for as long as the app is served."""
    async with tailrace:
        yield


app = FastAPI(lifespan=lifespan)
app.mount("/live", tailrace.asgi())


@app.get("/")
async def start(to: int = 50) -> RedirectResponse:
    """Start an execution and show it."""
    run = await tailrace.start(counting, to=to)
    stream = f"/live/api/v1/workspaces/default/executions/{run.id}/stream"
    return RedirectResponse(f"/browser.html?url={stream}")


@app.get("/browser.html")
async def page() -> FileResponse:
    """The page."""
    return FileResponse(Path(__file__).with_name("browser.html"))
