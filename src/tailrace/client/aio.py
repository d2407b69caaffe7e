"""The asyncio client.

The law of this file: transport only; every decision is in `resume`. Its twin is `sync`.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from types import TracebackType
from typing import Any, Self, Unpack

import httpx

from tailrace.client.answers import (
    TIMEOUT,
    Token,
    answer_of,
    api_url,
    bearer,
    json_of,
    output_of,
    problem_of,
    unreachable,
)
from tailrace.client.resume import ATTEMPTS, Resume, choice
from tailrace.clock import Clock, SystemClock
from tailrace.errors import TailraceError
from tailrace.events import Event
from tailrace.filters import Choice
from tailrace.lifecycle import digest_of


class Follow:
    """An execution's events across reconnects: an async iterator that knows its `position`."""

    def __init__(self, client: "Client", resume: Resume) -> None:
        self._client, self._resume = client, resume
        self._events = self._run()

    @property
    def position(self) -> str | None:
        """Where this stands; hand it to `follow(after=…)` to go on later."""
        return self._resume.position

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        return await anext(self._events)

    async def aclose(self) -> None:
        """Stop following; the execution goes on."""
        await self._events.aclose()

    async def _run(self) -> AsyncGenerator[Event, None]:
        resume = self._resume
        while not resume.ended:
            try:
                async for event in self._connection():
                    yield event
                pause = resume.closed()
            except httpx.TransportError as error:
                pause = resume.failed(error)
            except TailraceError as error:
                if not error.retryable:
                    raise
                pause = resume.failed(error)
            if not resume.ended:
                await self._client.clock.sleep(pause)

    async def _connection(self) -> AsyncGenerator[Event, None]:
        resume = self._resume
        url = self._client.url(*resume.path())
        http = self._client.http
        async with http.stream(
            "GET", url, headers=resume.connect() | self._client.headers(), params=resume.query()
        ) as response:
            if response.status_code >= 400:
                await response.aread()
                raise problem_of(response)
            if not resume.answered(response.status_code, response.headers.get("content-type", "")):
                return
            async for chunk in response.aiter_raw():
                for event in resume.feed(chunk):
                    yield event
                if resume.ended:
                    return


class Client:
    """A Tailrace server, from asyncio. Use it as an async context manager.

    Errors are those of `tailrace.errors`, by the codes the server sends; a server that cannot
    be reached raises ConnectionLost. `token` is an API key or a JWT, or a function that gives
    one: it is called for each request, so that it can renew what expires.
    """

    def __init__(
        self,
        url: str,
        *,
        workspace: str = "default",
        token: Token = None,
        attempts: int = ATTEMPTS,
        http: httpx.AsyncClient | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.base_url, self.workspace, self.attempts = url, workspace, attempts
        self._token = token
        self.http = http or httpx.AsyncClient(timeout=TIMEOUT)
        self.clock: Clock = clock or SystemClock()

    def headers(self) -> dict[str, str]:
        """What each request says of who asks."""
        return bearer(self._token)

    def url(self, *parts: str) -> str:
        """The URL of something in this client's workspace."""
        return api_url(self.base_url, "workspaces", self.workspace, *parts)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self.http.aclose()

    def follow(
        self,
        execution_id: str,
        after: str | int | None = None,
        *,
        live: bool = True,
        **wanted: Unpack[Choice],
    ) -> Follow:
        """Follow an execution from the beginning, or from a position, to its terminal event.

        With `live=False`: the events that are there, without waiting for more. A `Choice` chooses;
        the terminal event always comes. `compact` is by default so for what has already ended.

        Reconnects by itself; a gap comes as a `stream.gap` event. Iterating raises
        ConnectionLost when the server stays away, and ExecutionNotFound or InvalidPosition
        as the server says. That an execution failed is an event, not an exception: see `result`.
        """
        position = None if after is None else str(after)
        made = Resume(execution_id, position, self.attempts, live=live, choice=choice(wanted))
        return Follow(self, made)

    def follow_many(
        self,
        *execution_ids: str,
        after: str | None = None,
        live: bool = True,
        **wanted: Unpack[Choice],
    ) -> Follow:
        """Follow many executions on one connection: these, or all of the workspace.

        Of the workspace: those that run now, from their beginning, and each new one as it starts.
        That never ends by itself; with executions named it ends with the last of them.
        `Event.execution_id` says whose an event is, `.position` stands in all of them.
        Raises as `follow` does.
        """
        query = [("execution", execution_id) for execution_id in execution_ids]
        made = Resume("", after, self.attempts, live=live, choice=choice(wanted), many=query)
        return Follow(self, made)

    async def start(self, flow: str, input: Any = None, **options: Any) -> str:  # noqa: A002 - the API's own word
        """Start a flow; returns the execution's id. Options as in `POST …/executions`."""
        body = {"flow": flow, "input": input, **options}
        answer = await self._call("POST", self.url("executions"), body)
        return str(answer["execution_id"])

    async def get(self, execution_id: str, at: int | None = None) -> dict[str, Any]:
        """One execution with its nodes: as it is now, or as it was after the event `at`."""
        url = self.url("executions", execution_id)
        return await self._call("GET", url, params=None if at is None else {"at": at})

    async def list(self, **query: str | int) -> dict[str, Any]:
        """A page of executions; `limit`, `before` and `status` as in the API."""
        return await self._call("GET", self.url("executions"), params=query)

    async def cancel(self, execution_id: str, reason: str | None = None) -> dict[str, Any]:
        """Ask an execution to stop."""
        url = self.url("executions", execution_id, "cancel")
        return await self._call("POST", url, {"reason": reason})

    async def result(self, execution_id: str) -> Any:
        """Wait for the end and return the output; raises ExecutionFailed and its like."""
        async for _ in self.follow(execution_id, events="execution.*"):
            pass
        execution = await self.get(execution_id)
        digest = digest_of(execution.get("end") or {})
        return output_of(execution) if digest is None else await self.payload(execution_id, digest)

    async def payload(self, execution_id: str, digest: str) -> Any:
        """A value that was too large for its event, by the digest in its summary."""
        url = self.url("executions", execution_id, "payloads", digest)
        return json_of(await self._request("GET", url))

    async def _call(
        self,
        method: str,
        url: str,
        body: dict[str, Any] | None = None,
        params: dict[str, str | int] | None = None,
    ) -> dict[str, Any]:
        return answer_of(await self._request(method, url, body, params))

    async def _request(
        self,
        method: str,
        url: str,
        body: dict[str, Any] | None = None,
        params: dict[str, str | int] | None = None,
    ) -> httpx.Response:
        try:
            return await self.http.request(
                method, url, json=body, params=params, headers=self.headers()
            )
        except httpx.TransportError as error:
            raise unreachable(self.base_url, error) from error
