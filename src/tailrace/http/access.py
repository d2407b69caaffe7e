"""The gate: who asks, and whether they may, before anything else of a request is looked at.

The law of this file: what is not in the table is refused. Every route has a line there (a test
reads the OpenAPI document and finds those without), so a route that was forgotten serves nobody.

Where nobody is asked who they are (`Access.on` is false) the gate only keeps out what pages of other
sites send, and puts the headers on. A stream that is handed over from the server (http.direct)
passes here while it begins, like any other; its end is `Access.look`'s.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qs, unquote

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request, cookie_parser
from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from tailrace.access import Access, Asking
from tailrace.auth import EVERYWHERE, Identity, Right, Verdict, decide, decide_somewhere
from tailrace.errors import (
    ExecutionNotFound,
    Forbidden,
    InvalidRequest,
    TailraceError,
    TokenInvalid,
    Unauthenticated,
    WorkspaceNotFound,
)
from tailrace.flow.build import Flow
from tailrace.http import problems, ui
from tailrace.http.asked import IDENTITY
from tailrace.http.origins import Origins, protected
from tailrace.http.streams import KIND_PATHS
from tailrace.runtime import Runtime

COOKIE = "tailrace_session"
SAFE = ("GET", "HEAD", "OPTIONS")
Where = Literal["path", "execution", "default", "somewhere", "server", "known", "public", "self"]


@dataclass(frozen=True, slots=True)
class Rule:
    """What a route needs: a right, and where.

    path       in the workspace (or of the execution) that the path names
    execution  in the workspace of the execution that the path names
    default    in the workspace `default`
    somewhere  in any workspace
    server     in all workspaces
    known      whoever it is, they must have said so
    public     nothing; health and descriptions, which the setting public_health closes
    self       nothing: the route checks for itself what it is sent
    """

    right: Right
    where: Where = "path"
    stream: bool = False


_API = "/api/v1"
_WORKSPACE = f"{_API}/workspaces/{{workspace}}"
_EXECUTIONS = f"{_WORKSPACE}/executions"
_EXECUTION = f"{_EXECUTIONS}/{{execution_id}}"

RULES: Mapping[tuple[str, str], Rule] = {
    ("POST", _EXECUTIONS): Rule("run"),
    ("GET", _EXECUTIONS): Rule("read"),
    ("GET", _EXECUTION): Rule("read"),
    ("POST", f"{_EXECUTION}/cancel"): Rule("run"),
    ("GET", f"{_EXECUTION}/events"): Rule("read"),
    ("POST", f"{_EXECUTION}/events"): Rule("write"),
    ("GET", f"{_EXECUTION}/payloads/{{digest}}"): Rule("read"),
    ("GET", f"{_EXECUTION}/stream"): Rule("read", stream=True),
    ("GET", f"{_EXECUTION}/logs"): Rule("read", stream=True),
    ("POST", f"{_EXECUTION}/tickets"): Rule("read"),
    ("GET", f"{_WORKSPACE}/stream"): Rule("read", stream=True),
    ("POST", f"{_WORKSPACE}/tickets"): Rule("read"),
    ("POST", f"{_WORKSPACE}/jobs"): Rule("write"),
    **{("GET", path): Rule("read", "execution", stream=True) for path in KIND_PATHS.values()},
    ("POST", f"{_API}/workloads"): Rule("run", "default"),
    ("POST", f"{_API}/jobs/progress"): Rule("write", "self"),  # signed with the job's own token
    ("GET", f"{_API}/catalog"): Rule("read", "somewhere"),
    ("GET", f"{_API}/probe"): Rule("read", "known"),
    ("GET", f"{_API}/session"): Rule("read", "known"),
    ("POST", f"{_API}/session"): Rule("write", "known"),
    ("DELETE", f"{_API}/session"): Rule("write", "known"),
    ("GET", "/metrics"): Rule("read", "server"),
    ("GET", "/healthz"): Rule("read", "public"),
    ("GET", "/readyz"): Rule("read", "public"),
    ("GET", "/openapi.json"): Rule("read", "public"),
    ("GET", "/docs"): Rule("read", "public"),
    ("GET", "/docs/oauth2-redirect"): Rule("read", "public"),
    ("GET", "/redoc"): Rule("read", "public"),
    # The page's files are everybody's, whatever the settings: on them one says who one is.
    **{("GET", path): Rule("read", "self") for path in ui.PATHS},
}


@dataclass(frozen=True, slots=True)
class Route:
    """What a request is about: the rule of its route, and what its path names."""

    rule: Rule
    workspace: str | None
    execution: str | None


class Table:
    """The rules, by path: those of this file, then a flow's own routes (`run` in `default`)."""

    def __init__(self, flows: Iterable[Flow[Any]]) -> None:
        rules = dict(RULES)
        for flow in flows:
            if flow.ir.trigger.path is not None:
                route = (flow.ir.trigger.method or "POST", flow.ir.trigger.path)
                rules.setdefault(route, Rule("run", "default"))
        made: dict[str, dict[str, Rule]] = {}
        for (method, path), rule in rules.items():
            made.setdefault(path, {})[method] = rule
        # In the order in which the app looks: a flow's route never comes before one of ours.
        self._paths = [(compile_path(path)[0], methods) for path, methods in made.items()]

    def find(self, method: str, path: str) -> Route | int:
        """What a request is about, or the status with which no route answers."""
        for pattern, methods in self._paths:
            if found := pattern.match(path):
                rule = methods.get("GET" if method == "HEAD" else method)
                if rule is None:
                    return 405
                names = found.groupdict()
                return Route(rule, names.get("workspace"), names.get("execution_id"))
        return 404


class Gate:
    """Lets a request in to an app, or answers it."""

    def __init__(
        self,
        app: ASGIApp,
        runtime: Runtime,
        observed: Callable[[ASGIApp], ASGIApp] = lambda answer: answer,
    ) -> None:
        """`observed`: how an answer of the gate's own is counted, and logged."""
        self.app, self.runtime, self.observed = app, runtime, observed
        self.origins = Origins(runtime.settings.cors_origins)
        flows = [flow for flow in runtime.flows.values() if isinstance(flow, Flow)]
        self.table = Table(flows)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = Headers(scope=scope)
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        send = protected(send, path, self.origins.headers(headers.get("origin")))
        ticket = _take_ticket(scope)
        answer = self.app
        try:
            if not path.isprintable():
                raise InvalidRequest("The path holds what nobody can print")
            if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
                answer = self.observed(self.origins.preflight(headers.get("origin", "")))
            else:
                scope[IDENTITY] = await self._admitted(scope, headers, path, ticket)
        except TailraceError as error:
            answer = self.observed(problems.problem(error))
        except HTTPException as error:
            answer = self.observed(problems.http_problem(Request(scope), error))
        return await answer(scope, receive, send)

    async def _admitted(
        self, scope: Scope, headers: Headers, path: str, ticket: str | None
    ) -> Identity | None:
        """Who asks, if they may. Raises an AccessError, a 404 that says nothing, or StoreError."""
        access, method = self.runtime.access, scope["method"]
        if not self.runtime.is_open:
            return None  # the app refuses everything
        route = self.table.find(method, path)
        rule = route.rule if isinstance(route, Route) else None
        changes = method not in SAFE or (rule is not None and rule.right != "read")
        if not access.on:
            if changes:
                self.origins.check(headers, sure=False)
            return None
        if rule is not None and self._open_to_all(rule):
            return None
        asking = _asking(scope, headers, path, route)
        identity, by_cookie = await self._identity(access, asking, rule, ticket)
        if identity is None:
            raise Unauthenticated
        if changes:
            self.origins.check(headers, sure=by_cookie)
        if not isinstance(route, Route):
            raise HTTPException(route)
        await self._require(identity, route)
        return identity

    def _open_to_all(self, rule: Rule) -> bool:
        public = rule.where == "public" and self.runtime.settings.public_health
        return public or rule.where == "self"

    async def _identity(
        self, access: Access, asking: Asking, rule: Rule | None, ticket: str | None
    ) -> tuple[Identity | None, bool]:
        """Who asks, and whether the browser said so by itself."""
        if ticket is not None and rule is not None and rule.stream:
            return await access.ticket(ticket), False
        if identity := await access.custom(asking):
            # What a hook looks at is its own: a cookie counts, unless there is Authorization.
            by_cookie = "cookie" in asking.headers and "authorization" not in asking.headers
            return identity, by_cookie
        if "authorization" in asking.headers:
            return await access.bearer(_bearer(asking.headers["authorization"])), False
        cookie = cookie_parser(asking.headers.get("cookie", "")).get(COOKIE)
        return (await access.session(cookie), True) if cookie else (None, False)

    async def _require(self, identity: Identity, route: Route) -> None:
        """Refuse what the identity may not do."""
        rule, workspace, execution = route.rule, route.workspace, route.execution
        if rule.where in ("known", "public"):
            return
        if rule.where == "somewhere":
            verdict = decide_somewhere(identity, rule.right)
        elif rule.where == "server":
            verdict = decide(identity, rule.right, workspace=EVERYWHERE)
        else:
            if rule.where == "default":
                workspace, execution = "default", None
            elif rule.where == "execution" and execution is not None:
                workspace = (await self.runtime.log.entry(execution)).workspace
            verdict = decide(identity, rule.right, workspace=workspace, execution=execution)
            if verdict is Verdict.ALLOWED and rule.right not in identity.rights(workspace):
                # The right is for this execution alone: where that is, it says, not who asks.
                assert execution is not None
                entry = await self.runtime.log.entry(execution)
                verdict = verdict if entry.workspace == workspace else Verdict.HIDDEN
        if verdict is Verdict.HIDDEN and execution is not None:
            raise ExecutionNotFound(f"There is no execution {execution!r} here")
        if verdict is Verdict.HIDDEN and rule.where == "path":
            raise WorkspaceNotFound(f"There is no workspace {workspace!r} here")
        if verdict is not Verdict.ALLOWED:
            raise Forbidden(f"This needs the right {rule.right!r}")


def _asking(scope: Scope, headers: Headers, path: str, route: Route | int) -> Asking:
    known = route if isinstance(route, Route) else None
    client = scope.get("client")
    return Asking(
        method=scope["method"],
        path=path,
        headers=_joined(headers),
        client=client[0] if client else None,
        right=known.rule.right if known else None,
        workspace=known.workspace if known else None,
        execution=known.execution if known else None,
    )


def _joined(headers: Headers) -> dict[str, str]:
    """Headers as one value for each name; Authorization twice is two opinions, and is refused."""
    if len(headers.getlist("authorization")) > 1:
        raise TokenInvalid("There is more than one Authorization header")
    return {name: ", ".join(headers.getlist(name)) for name in headers.keys()}  # noqa: SIM118 - a multi-dict


def _bearer(header: str) -> str:
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise TokenInvalid("The Authorization header is not `Bearer TOKEN`")
    return token.strip()


def _take_ticket(scope: Scope) -> str | None:
    """Take a ticket out of a request's URL, so that whoever logs that URL later has none."""
    query = scope.get("query_string", b"").decode("latin-1")
    if "ticket" not in unquote(query):
        return None
    found = parse_qs(query).get("ticket")
    scope["query_string"] = without_secrets(f"?{query}")[1:].encode("latin-1")
    return found[-1] if found else None


def without_secrets(target: str) -> str:
    """A URL, or the target of a request, without the values of tickets: for logs."""
    address, mark, query = target.partition("?")
    parts = query.split("&") if mark else []
    kept = ["ticket=_" if unquote(p.partition("=")[0]) == "ticket" else p for p in parts]
    return address + mark + "&".join(kept)
