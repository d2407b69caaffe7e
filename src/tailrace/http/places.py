"""A stream's place, as its request asks for it.

The law of this file: asked for last, when nothing else can refuse the request, so that no refusal
ever holds a place.
"""

from starlette.types import Scope

from tailrace.limits import Leave
from tailrace.runtime import Runtime

IDENTITY = "tailrace.identity"  # in the ASGI scope: who asks, where access control found out


async def take_place(runtime: Runtime, scope: Scope, workspace: str) -> Leave:
    """Take the place of a stream. Raises TooManyStreams, Overloaded and StoreError.

    The address is the server's word for it: uvicorn believes `X-Forwarded-For` only from the
    proxies it was told to trust.
    """
    client = scope.get("client")
    return await runtime.limits.stream(
        workspace,
        credential=getattr(scope.get(IDENTITY), "credential", None),
        address=client[0] if client else None,
    )
