"""Credentials: how they are made, recognised, and no longer good. In the facts of the store.

The law of this file: what opens something is never kept, only its hash, and it is shown once. All
processes of a store know the same credentials, and none believes for longer than LOOK_S what
another has revoked.

    key      API keys: for programs and people, until they expire or are revoked
    session  browsers: a cookie, made from a credential, not for longer than it
    ticket   one connect of one stream, now
    revoked  the ids of credentials that are no longer good, whatever they are

Why SHA-256 and no slow hash: slow hashes make guessing dear where people choose the secret. These
are 256 random bits: nobody guesses them, and a slow hash would let strangers burn our time.
"""

import json
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from hmac import compare_digest
from typing import Any

from tailrace.auth import Identity, Right, Rights
from tailrace.clock import Clock, rfc3339
from tailrace.errors import (
    StoreError,
    TicketInvalid,
    TokenExpired,
    TokenInvalid,
    TokenRevoked,
    Unauthenticated,
)
from tailrace.log.facts import Facts
from tailrace.settings import Settings
from tailrace.signals import Held, Signal

_logger = logging.getLogger("tailrace")
PREFIX = "tlr_"
LOOK_S = 1.0  # how often each process looks whether a credential of its streams was revoked
REMEMBERED = timedelta(days=30)  # how long an expired key is still known, to say that it expired


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """A request, as an `authorize` hook sees it: before anything of it was done.

    `headers` have lower-case names. `right`, `workspace` and `execution` are what it is about.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    client: str | None
    right: Right | None
    workspace: str | None
    execution: str | None


Authorize = Callable[[Asking], Awaitable[Identity | None]]


def asks(settings: Settings, authorize: Authorize | None = None) -> bool:
    """Whether everybody has to say who they are: as the settings say, or if they name a way to."""
    configured = settings.jwt_keys is not None or authorize is not None
    return configured if settings.auth is None else settings.auth


class Access:
    """Who is there: the credentials of one store, and what else the settings let in."""

    def __init__(
        self, settings: Settings, clock: Clock, facts: Facts, authorize: Authorize | None = None
    ) -> None:
        self.settings, self._clock, self._facts = settings, clock, facts
        self.authorize = authorize
        self._tokens: Any = None
        if settings.jwt_keys is not None:
            from tailrace.jwts import Tokens  # its libraries are not every command's price

            self._tokens = Tokens(settings, clock)
        self.on = asks(settings, authorize)

    def _now(self) -> str:
        return rfc3339(self._clock.now())

    # --- recognising --------------------------------------------------------------------------

    async def bearer(self, token: str) -> Identity:
        """Who a bearer token is of: an API key, or a JWT.

        Raises TokenInvalid, TokenExpired, TokenRevoked, KeysUnavailable, StoreError.
        """
        if token.startswith(PREFIX):
            return await self._good(await self._key(token))
        if self._tokens is None:
            raise TokenInvalid
        return await self._good(await self._tokens.identity(token))

    async def _key(self, token: str) -> Identity:
        name, _, secret = token.removeprefix(PREFIX).partition("_")
        kept = await self._facts.get("key", name, now=self._now())
        body: dict[str, Any] = json.loads(kept) if kept else {"hash": ""}
        if not compare_digest(body["hash"], _hash(secret)):
            raise TokenInvalid
        return Identity.from_dict(body["identity"])

    async def session(self, secret: str) -> Identity:
        """Who a browser's session is of. Raises TokenExpired, TokenRevoked, StoreError."""
        kept = await self._facts.get("session", _hash(secret), now=self._now())
        if kept is None:
            raise TokenExpired("The session is over")
        return await self._good(Identity.from_dict(json.loads(kept)))

    async def ticket(self, secret: str) -> Identity:
        """Who a ticket is of; it is used up. Raises TicketInvalid, TokenRevoked, StoreError."""
        name, now = _hash(secret), self._now()
        kept = await self._facts.get("ticket", name, now=now)  # what nobody made costs no write
        kept = kept and await self._facts.take("ticket", name, now=now)
        if kept is None:
            raise TicketInvalid
        return await self._good(Identity.from_dict(json.loads(kept)))

    async def custom(self, asking: Asking) -> Identity | None:
        """Who the hook says it is; None if it knows nobody, or there is none."""
        if self.authorize is None:
            return None
        identity = await self.authorize(asking)
        return None if identity is None else await self._good(identity)

    async def _good(self, identity: Identity) -> Identity:
        """The identity, if its time is not over and nothing it stands on was revoked."""
        if identity.expires_at is not None and identity.expires_at <= self._clock.now():
            raise TokenExpired
        for credential in identity.credentials:
            if await self._facts.get("revoked", credential, now=self._now()) is not None:
                raise TokenRevoked
        return identity

    # --- making -------------------------------------------------------------------------------

    async def make_key(
        self,
        workspaces: Mapping[str, Rights],
        *,
        name: str | None = None,
        expires_at: datetime | None = None,
    ) -> tuple[str, Identity]:
        """Make an API key; returns the key, which nobody can show again, and who it is."""
        key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        identity = Identity(
            subject=name or key_id,
            kind="key",
            workspaces=workspaces,
            expires_at=expires_at,
            credentials=(f"key:{key_id}",),
        )
        now, until = self._now(), rfc3339(expires_at + REMEMBERED) if expires_at else None
        body = {"hash": _hash(secret), "created_at": now, "identity": identity.to_dict()}
        await self._facts.put("key", key_id, json.dumps(body), now=now, until=until, new=True)
        return f"{PREFIX}{key_id}_{secret}", identity

    async def keys(self) -> list[dict[str, Any]]:
        """All API keys, without what opens them, and whether they are still good."""
        now = self._now()
        revoked = dict(await self._facts.find("revoked", "key:", now=now))
        found = []
        for key_id, kept in await self._facts.find("key", now=now):
            body = json.loads(kept)
            identity = Identity.from_dict(body["identity"])
            over = identity.expires_at is not None and identity.expires_at <= self._clock.now()
            gone = f"key:{key_id}" in revoked
            found.append(
                {
                    "id": key_id,
                    "name": identity.subject,
                    "state": "revoked" if gone else "expired" if over else "good",
                    "workspaces": body["identity"]["workspaces"],
                    "created_at": body["created_at"],
                    "expires_at": identity.expires_at and rfc3339(identity.expires_at),
                }
            )
        return found

    async def begin_session(self, identity: Identity) -> tuple[str, datetime]:
        """Make a browser's session; returns what its cookie holds, and when it ends."""
        until = self._until(identity, self.settings.session_s)
        secret = await self._keep("session", replace(identity, kind="session"), until)
        return secret, until

    async def end_session(self, secret: str) -> None:
        """End a browser's session, and its streams."""
        kept = await self._facts.get("session", _hash(secret), now=self._now())
        if kept is not None:
            identity = Identity.from_dict(json.loads(kept))
            # First: while the session is known, it can be ended again, should this fail.
            await self.revoke(identity.credentials[-1], until=identity.expires_at)
            await self._facts.take("session", _hash(secret), now=self._now())

    async def make_ticket(
        self, identity: Identity, workspace: str, execution: str | None = None
    ) -> tuple[str, datetime]:
        """Make a ticket to read a workspace, or one execution; returns it and its end."""
        only: dict[str, Rights] = {execution or workspace: frozenset({"read"})}
        ticket = replace(
            identity,
            kind="ticket",
            workspaces={} if execution else only,
            executions=only if execution else {},
        )
        until = self._until(identity, self.settings.ticket_s)
        return await self._keep("ticket", ticket, until), until

    def _until(self, identity: Identity, seconds: float) -> datetime:
        until = self._clock.now() + timedelta(seconds=seconds)
        return min(until, identity.expires_at) if identity.expires_at else until

    async def _keep(self, kind: str, identity: Identity, until: datetime) -> str:
        secret = secrets.token_urlsafe(32)
        if kind == "session":
            own = (*identity.credentials, f"session:{_hash(secret)[:32]}")
            identity = replace(identity, credentials=own, expires_at=until)
        body = json.dumps(identity.to_dict())
        await self._facts.put(kind, _hash(secret), body, now=self._now(), until=rfc3339(until))
        return secret

    # --- ending -------------------------------------------------------------------------------

    async def revoke(self, credential: str, *, until: datetime | None = None) -> None:
        """Let a credential be good no longer (`key:…`, `jwt:…`, `subject:…`, one of a hook's).

        In all processes of the store; its open streams end within seconds. `until`: when it would
        have been over by itself, so that nobody has to remember it longer.
        """
        now = self._now()
        end = rfc3339(until) if until else None
        await self._facts.put("revoked", credential, now, now=now, until=end)

    async def revoke_key(self, key_id: str) -> None:
        """Revoke an API key by its id. Raises TokenInvalid if there is none."""
        if await self._facts.get("key", key_id, now=self._now()) is None:
            raise TokenInvalid(f"There is no key {key_id!r}", hint="`tailrace token list` has all.")
        await self.revoke(f"key:{key_id}")

    async def look(self, streams: Iterable[Held]) -> None:
        """End the streams whose credentials are no longer good. One look for all of them."""
        held = [stream for stream in streams if stream.holder is not None]
        if not held:
            return
        try:
            revoked = {key for key, _ in await self._facts.find("revoked", now=self._now())}
        except StoreError as error:
            _logger.warning("revoked credentials could not be looked up: %s", error)
            revoked = set()
        now = self._clock.now()
        for stream in held:
            holder: Identity = stream.holder
            if not revoked.isdisjoint(holder.credentials):
                stream.wake(Signal.REVOKED)
            elif holder.expires_at is not None and holder.expires_at <= now:
                stream.wake(Signal.LAPSED)

    async def keep_looking(self, streams: Callable[[], Iterable[Held]]) -> None:
        """Look, for ever."""
        while True:
            await self._clock.sleep(LOOK_S)
            await self.look(streams())


def known(identity: Identity | None) -> Identity:
    """The identity, where there must be one. Raises Unauthenticated."""
    if identity is None:
        raise Unauthenticated
    return identity


def _hash(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()
