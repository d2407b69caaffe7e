"""`Tailrace`: the runtime with its Python and HTTP faces, for use inside your program.

The law of this file: a façade adds convenience, never behaviour.
"""

from collections.abc import Iterable
from typing import Any

from starlette.types import ASGIApp

from tailrace.flow.build import Flow
from tailrace.runtime import Run, Runtime
from tailrace.settings import Settings


class Tailrace(Runtime):
    """Live executions in your own program, in memory, in one file or on a server.

        async with Tailrace("sqlite:///runs.db", flows=[site_status]) as tailrace:
            run = await tailrace.start(site_status, site="https://example.org")
            async for event in run.follow():
                print(event.type)
            output = await run

    `store` is a store URL (default: the user's own file, shared with the command line);
    further settings come as `Settings`.
    """

    def __init__(
        self,
        store: str | None = None,
        *,
        flows: Iterable[Flow[Any]] = (),
        settings: Settings | None = None,
    ) -> None:
        settings = settings or Settings()
        if store is not None:
            settings = settings.model_copy(update={"store": store})
        super().__init__(settings, flows=flows)

    async def run(self, flow: str | Flow[Any], **arguments: Any) -> Run:
        """Start a flow with its arguments as keywords; `start` takes them as one object.

        Raises as `start` does.
        """
        return await self.start(flow, arguments)

    def asgi(self) -> ASGIApp:
        """The HTTP face, to serve or to mount: `app.mount("/live", tailrace.asgi())`."""
        from tailrace.http.app import create_app  # a program that only runs flows needs no FastAPI

        return create_app(self)
