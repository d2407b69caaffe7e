"""`Tailrace`: the runtime with its Python and HTTP faces, for use inside your program.

The law of this file: a façade adds convenience, never behaviour.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any

from starlette.types import ASGIApp

from tailrace.access import Authorize
from tailrace.errors import InvalidInput
from tailrace.redact import Redactor
from tailrace.report import Reported, execution
from tailrace.run import Run
from tailrace.runtime import Runtime
from tailrace.settings import Settings
from tailrace.startable import Startable
from tailrace.work.base import Priority, WorkQueue


class Tailrace(Runtime):
    """Live executions in your own program, in memory, in one file or on a server.

        async with Tailrace("sqlite:///runs.db", flows=[site_status]) as tailrace:
            run = await tailrace.start(site_status, site="https://example.org")
            async for event in run.follow():
                print(event.type)
            output = await run

    `store` is a store URL (default: the user's own file, shared with the command line);
    further settings come as `Settings`. The `redactor` keeps secrets out of the log; `workloads`
    are commands that may be started over HTTP, by their names. `authorize` says who asks over HTTP;
    with it, nobody else gets in (docs/access.md). A `queue` of your own carries executions to
    workers, in place of the one that the settings name.
    """

    def __init__(
        self,
        store: str | None = None,
        *,
        flows: Iterable[Startable] = (),
        settings: Settings | None = None,
        redactor: Redactor | None = None,
        workloads: Mapping[str, Sequence[str]] | None = None,
        authorize: Authorize | None = None,
        queue: WorkQueue | None = None,
    ) -> None:
        settings = settings or Settings()
        if store is not None:
            settings = settings.model_copy(update={"store": store})
        super().__init__(
            settings,
            flows=flows,
            redactor=redactor,
            workloads=workloads,
            authorize=authorize,
            queue=queue,
        )

    async def start(
        self,
        flow: str | Startable,
        input: Any = None,  # noqa: A002 - the event's own word
        *,
        kind: str | None = None,
        workspace: str = "default",
        idempotency_key: str | None = None,
        deadline_ms: int | None = None,
        ephemeral: bool = False,
        traceparent: str | None = None,
        priority: Priority = "normal",
        at: datetime | None = None,
        **arguments: Any,
    ) -> Run:
        """Start a flow, its arguments as keywords or as one object (`input`), and return at once.

        An argument that has the name of one of these options must go into `input`.
        Raises as `Runtime.start` does.
        """
        if arguments and input is not None:
            raise InvalidInput("Give the flow's arguments as keywords or as `input`, not as both")
        return await super().start(
            flow,
            arguments or input,
            kind=kind,
            workspace=workspace,
            idempotency_key=idempotency_key,
            deadline_ms=deadline_ms,
            ephemeral=ephemeral,
            traceparent=traceparent,
            priority=priority,
            at=at,
        )

    def execution(
        self,
        name: str,
        *,
        kind: str = "task",
        input: Any = None,  # noqa: A002 - the event's own word
        workspace: str = "default",
        deadline_ms: int | None = None,
    ) -> AbstractAsyncContextManager[Reported]:
        """Report your own code as an execution, for as long as a block lasts.

            async with tailrace.execution("import") as run:
                run.log("starting")
                async with run.node("fetch"):
                    ...

        Leaving the block ends the execution: well, or with the block's exception. If it is
        cancelled from outside, the block is, and ExecutionCancelled is raised.
        """
        return execution(
            self,
            name,
            kind=kind,
            input=input,
            workspace=workspace,
            deadline_ms=deadline_ms,
        )

    def asgi(self) -> ASGIApp:
        """The HTTP face, to serve or to mount: `app.mount("/live", tailrace.asgi())`."""
        from tailrace.http.app import create_app  # a program that only runs flows needs no FastAPI

        return create_app(self)
