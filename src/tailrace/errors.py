"""Every error Tailrace raises: one tree, and for each a stable code.

The law of this file: a class's docstring is its default message, so the words are written once
and are read by maintainers and users alike. `code` never changes once released; the HTTP layer
answers with `status`, and `retryable` says whether the same call may work later.

    TailraceError
    ├── UsageError                  what was asked cannot be done; ask differently
    │   ├── InvalidRequest · InvalidInput · InvalidPosition · InvalidEvent · InvalidFlow
    │   ├── InvalidSetting · PayloadTooLarge · UrlTooLong · HeadersTooLarge
    │   ├── TargetNotFound · FlowNotFound · ExecutionNotFound · WrongKind
    │   │   · PayloadNotFound · PositionTrimmed · WorkloadNotFound · WorkspaceNotFound
    │   └── SignatureInvalid · SignatureStale · InvalidExport · AuthRequired · ToolMissing
    ├── AccessError                 who asks, or whether they may
    │   ├── Unauthenticated · TokenInvalid · TokenExpired · TokenRevoked · TicketInvalid
    │   └── Forbidden · CrossSite · WrongHost · KeysUnavailable
    ├── ConflictError               the log has moved on, or says otherwise
    │   └── ExecutionExists · ExecutionRunning · IdempotencyConflict · PositionConflict · ProducerGap
    │       · LogSealed · IllegalTransition · TooManyEvents · AttemptFenced · Replayed · RunsHere
    ├── StoreError                  the store under the log cannot serve
    │   └── StoreUnavailable · StoreBusy · StoreClosed · StoreCorrupt · StoreReadOnly · StoreFull
    │       · StoreTooNew · StoreTooOld
    ├── RemoteError                 a server elsewhere, or the way to it
    │   └── ConnectionLost · ProtocolError
    ├── LimitReached                others, or the same caller, use all there is for now
    │   └── TooManyStreams · TooManyExecutions · RateLimited
    ├── AddressUnavailable · Overloaded · ShuttingDown · OutputTooLarge · QueueUnavailable
    └── ExecutionError              an execution ended, and not by completing
        └── ExecutionFailed · ExecutionCancelled · ExecutionTimedOut · ExecutionLost
"""

from collections.abc import Iterator
from inspect import cleandoc
from typing import Any, ClassVar


class TailraceError(Exception):
    """Something went wrong inside Tailrace."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    default_hint: ClassVar[str | None] = None

    def __init__(
        self, message: str | None = None, *, hint: str | None = None, **details: Any
    ) -> None:
        self.message = message or cleandoc(type(self).__doc__ or "").splitlines()[0]
        self.hint = hint or self.default_hint
        self.details = details
        super().__init__(self.message)


class UsageError(TailraceError):
    """What was asked for cannot be done."""

    code = "usage"
    status = 400


class InvalidRequest(UsageError):
    """The request is malformed."""

    code = "invalid_request"


class InvalidInput(UsageError):
    """The input does not fit the flow's parameters."""

    code = "invalid_input"
    status = 422
    default_hint = "`tailrace graph TARGET --json` shows the input schema under `trigger`."


class InvalidPosition(UsageError):
    """A position is `<seq>` or `<seq>@<epoch>`, as a stream gave it."""

    code = "invalid_position"
    default_hint = "Send the last `id:` you received unchanged, or leave it out to replay all."


class InvalidEvent(UsageError):
    """The event does not fit the catalog."""

    code = "invalid_event"
    status = 422
    default_hint = "The catalog is in docs/events.md; your own types are named `custom.<name>`."


class InvalidFlow(UsageError):
    """The flow's graph is not valid."""

    code = "invalid_flow"
    status = 422
    default_hint = "`tailrace graph TARGET --check` lists every problem with its place."


class InvalidSetting(UsageError):
    """A setting has a value that cannot be used."""

    code = "invalid_setting"
    default_hint = "docs/settings.md lists every setting with its unit and default."


class PayloadTooLarge(UsageError):
    """The payload is larger than the limit."""

    code = "payload_too_large"
    status = 413


class UrlTooLong(UsageError):
    """The URL is longer than the limit."""

    code = "url_too_long"
    status = 414
    default_hint = "Many executions at once: follow their workspace, without naming each."


class HeadersTooLarge(UsageError):
    """The headers are larger than the limit."""

    code = "headers_too_large"
    status = 431


class TargetNotFound(UsageError):
    """The target names nothing that can be loaded."""

    code = "target_not_found"
    status = 404
    default_hint = "A target is `module:flow`, `path.py:flow`, `path.py` or an example's name."


class FlowNotFound(UsageError):
    """The server has no flow of that name."""

    code = "flow_not_found"
    status = 404
    default_hint = "`GET /api/v1/catalog` lists the flows; `tailrace serve TARGET` adds some."


class ExecutionNotFound(UsageError):
    """There is no execution of that id here."""

    code = "execution_not_found"
    status = 404
    default_hint = "`tailrace ls` lists executions; is it in another store or workspace?"


class WrongKind(UsageError):
    """The execution is of another kind than the path says."""

    code = "wrong_kind"
    status = 404


class PayloadNotFound(UsageError):
    """The execution has no such payload."""

    code = "payload_not_found"
    status = 404


class PositionTrimmed(UsageError):
    """What the execution was at that position is no longer kept."""

    code = "position_trimmed"
    status = 404
    default_hint = "Ask for a later position, or for none: that is the newest."


class WorkloadNotFound(UsageError):
    """The server runs no workload of that name."""

    code = "workload_not_found"
    status = 404
    default_hint = "Start it with `tailrace serve --allow-workload NAME='COMMAND …'`."


class SignatureInvalid(UsageError):
    """The report is not signed with its job's token."""

    code = "signature_invalid"
    status = 401
    default_hint = "Sign `<timestamp>.<body>`, byte for byte as sent; docs/ingest.md shows how."


class SignatureStale(UsageError):
    """The report was signed too long ago, or by a clock that is wrong."""

    code = "signature_stale"
    status = 401
    default_hint = "Sign each try anew, with the time of the try."


class InvalidExport(UsageError):
    """The file is no export of an execution, or not a whole one."""

    code = "invalid_export"
    status = 422
    default_hint = "`tailrace export ID > FILE` writes one; it ends with a line that says so."


class WorkspaceNotFound(UsageError):
    """There is no workspace of that name here."""

    code = "workspace_not_found"
    status = 404
    default_hint = "`GET /api/v1/session` lists the workspaces that a credential is good for."


class ToolMissing(UsageError):
    """A program that this needs is not installed."""

    code = "tool_missing"
    default_hint = "On Debian and Ubuntu: apt install redis-server."


class AuthRequired(UsageError):
    """A server that other machines reach has to ask who is there."""

    code = "auth_required"
    default_hint = (
        "Make a key (`tailrace token create --workspace default --role operator`) and serve with "
        "--auth; or let everybody in with --no-auth."
    )


class AccessError(TailraceError):
    """Access was refused."""

    code = "access"
    status = 403


class Unauthenticated(AccessError):
    """A credential is needed here."""

    code = "unauthenticated"
    status = 401
    default_hint = "Send `Authorization: Bearer TOKEN`; docs/access.md says how to get one."


class TokenInvalid(AccessError):
    """The credential is none that this server knows."""

    code = "token_invalid"
    status = 401


class TokenExpired(AccessError):
    """The credential's time is over."""

    code = "token_expired"
    status = 401
    default_hint = "Get a new one, and go on from the same position: nothing is lost."


class TokenRevoked(AccessError):
    """The credential was revoked."""

    code = "token_revoked"
    status = 401


class TicketInvalid(AccessError):
    """The ticket was used before, is too old, or never was one."""

    code = "ticket_invalid"
    status = 401
    default_hint = "A ticket opens one stream, once, and soon: get a new one for each connection."


class Forbidden(AccessError):
    """The credential does not allow that."""

    code = "forbidden"


class CrossSite(AccessError):
    """A page of another site sent this request."""

    code = "cross_site"
    default_hint = "The setting cors_origins names the origins whose pages may."


class WrongHost(AccessError):
    """The server is for this machine only, and was asked under another name."""

    code = "wrong_host"
    status = 421
    default_hint = "Behind a proxy, serve with --auth, or let everybody in with --no-auth."


class KeysUnavailable(AccessError):
    """The keys that tokens are checked with cannot be had now."""

    code = "keys_unavailable"
    status = 503
    retryable = True


class ConflictError(TailraceError):
    """The log says otherwise."""

    code = "conflict"
    status = 409


class ExecutionExists(ConflictError):
    """An execution of that id exists already."""

    code = "execution_exists"


class ExecutionRunning(ConflictError):
    """The execution has not ended."""

    code = "execution_running"
    default_hint = "Cancel it first, or wait for its end."


class IdempotencyConflict(ConflictError):
    """The idempotency key was used before, with another flow or input."""

    code = "idempotency_conflict"
    default_hint = "Use a fresh key for a new request, or repeat the first request exactly."


class PositionConflict(ConflictError):
    """The log is not at the expected position."""

    code = "position_conflict"
    default_hint = "Another writer appended first: read the new head and decide again."


class ProducerGap(ConflictError):
    """A producer's numbers must follow each other without a hole."""

    code = "producer_gap"
    default_hint = "An earlier batch has not arrived: send it first, then repeat this one."


class LogSealed(ConflictError):
    """The execution has ended; its log takes no more events."""

    code = "log_sealed"


class IllegalTransition(ConflictError):
    """The event is not possible in the state the execution is in."""

    code = "illegal_transition"


class AttemptFenced(ConflictError):
    """A later attempt has taken over: this one's reports are no longer taken."""

    code = "attempt_fenced"
    default_hint = "Stop: another worker runs it now."


class Replayed(ConflictError):
    """The very same request was accepted before; nothing was written again."""

    code = "replayed"
    default_hint = "An honest repeat is signed anew, and answered with `duplicate`."


class RunsHere(ConflictError):
    """The execution runs in a Tailrace process, which alone writes its log."""

    code = "runs_here"


class TooManyEvents(ConflictError):
    """The execution has as many events as it may; only its end still fits."""

    code = "too_many_events"
    default_hint = "Report less of it, or raise the setting events_per_execution_max."


class StoreError(TailraceError):
    """The store under the log failed."""

    code = "store_error"


class StoreUnavailable(StoreError):
    """The store cannot be opened."""

    code = "store_unavailable"
    status = 503
    retryable = True
    default_hint = "Check the store URL, that its folder exists and that you may write there."


class QueueUnavailable(TailraceError):
    """The work queue cannot be reached."""

    code = "queue_unavailable"
    status = 503
    retryable = True
    default_hint = "Check the setting queue, and that its server runs. What waits is not lost."


class StoreBusy(StoreError):
    """The store is busy; nothing was written."""

    code = "store_busy"
    status = 503
    retryable = True


class StoreClosed(StoreError):
    """The store is closed."""

    code = "store_closed"
    status = 503


class StoreCorrupt(StoreError):
    """The store's file is damaged, or is not a Tailrace store."""

    code = "store_corrupt"
    default_hint = (
        "Move the file away to start afresh; `sqlite3 FILE .recover` may save what it holds."
    )


class StoreReadOnly(StoreError):
    """The store's file cannot be written."""

    code = "store_read_only"
    default_hint = "Give this user write access to the file and its folder, or name another store."


class StoreFull(StoreError):
    """The disk under the store is full; nothing was written."""

    code = "store_full"
    status = 507
    retryable = True
    default_hint = "Free some space: appends work again at once, without a restart."


class StoreTooNew(StoreError):
    """The store was written by a newer Tailrace."""

    code = "store_too_new"
    default_hint = "Upgrade Tailrace on this machine, or name another store."


class StoreTooOld(StoreError):
    """The store's server is older than Tailrace needs."""

    code = "store_too_old"
    default_hint = "Upgrade the server, or name another store."


class RemoteError(TailraceError):
    """A Tailrace server elsewhere could not serve."""

    code = "remote_error"
    status = 502


class ConnectionLost(RemoteError):
    """The connection was cut and could not be made again; the execution goes on."""

    code = "connection_lost"
    retryable = True
    default_hint = "Follow again with after=<the position>: nothing is lost."


class ProtocolError(RemoteError):
    """The other side does not speak Tailrace's protocol."""

    code = "protocol_error"
    default_hint = "Is the URL that of a Tailrace server, and no proxy answers in its place?"


class LimitReached(TailraceError):
    """There is no more of this for now; `retry_after_s` in the details says when to ask again."""

    code = "limit_reached"
    status = 429
    retryable = True


class TooManyStreams(LimitReached):
    """As many streams are open as may be."""

    code = "too_many_streams"
    default_hint = "Close one. One stream can follow many executions: GET …/workspaces/{ws}/stream."


class TooManyExecutions(LimitReached):
    """As many executions of the workspace run as may."""

    code = "too_many_executions"
    default_hint = "Wait for one to end, or raise the setting executions_per_workspace_max."


class RateLimited(LimitReached):
    """More came in a second than may."""

    code = "rate_limited"
    default_hint = "Wait as long as Retry-After says, then go on; larger batches cost less."


class AddressUnavailable(TailraceError):
    """The address cannot be listened on."""

    code = "address_unavailable"
    default_hint = "Is another server running there? Choose with --host and --port; 0 is any free."


class Overloaded(TailraceError):
    """The process runs as much as it may."""

    code = "overloaded"
    status = 503
    retryable = True
    default_hint = "Try again later, or raise the setting executions_max."


class ShuttingDown(TailraceError):
    """The server is shutting down."""

    code = "shutting_down"
    status = 503
    retryable = True


class OutputTooLarge(TailraceError):
    """A command wrote more than it may."""

    code = "output_too_large"


class ExecutionError(TailraceError):
    """An execution ended without completing."""

    code = "execution_error"


class ExecutionFailed(ExecutionError):
    """The execution failed."""

    code = "execution_failed"


class ExecutionCancelled(ExecutionError):
    """The execution was cancelled."""

    code = "execution_cancelled"


class ExecutionTimedOut(ExecutionError):
    """The execution passed its deadline."""

    code = "execution_timed_out"
    status = 504


class ExecutionLost(ExecutionError):
    """The execution's worker died or went silent."""

    code = "execution_lost"


def all_errors() -> Iterator[type[TailraceError]]:
    """Every error class, parents first: for the generated document, the client and the tests."""
    pending: list[type[TailraceError]] = [TailraceError]
    while pending:
        error = pending.pop(0)
        yield error
        pending.extend(error.__subclasses__())


def from_code(code: str, message: str, hint: str | None = None) -> TailraceError:
    """Rebuild the error that a server named in a problem document; unknown codes: RemoteError."""
    for error in all_errors():
        if error.code == code:
            return error(message, hint=hint)
    return RemoteError(f"{message} ({code})", hint=hint)
