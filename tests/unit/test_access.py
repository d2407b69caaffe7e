"""Credentials: shown once, good until their time is over or they are revoked, in any process."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.access import LOOK_S, Access, Asking
from tailrace.auth import EVERYWHERE, ROLES, Identity
from tailrace.errors import (
    StoreBusy,
    TicketInvalid,
    TokenExpired,
    TokenInvalid,
    TokenRevoked,
)
from tailrace.log.memory import MemoryLog
from tailrace.settings import Settings
from tailrace.signals import Signal
from tailrace.testing import FakeClock
from tailrace.testing.clock import EPOCH


@pytest.fixture
async def log() -> AsyncIterator[MemoryLog]:
    async with MemoryLog() as opened:
        yield opened


@pytest.fixture
def access(log: MemoryLog, clock: FakeClock) -> Access:
    return Access(Settings(store="memory:", auth=True), clock, log.facts)


class Stream:
    """What the look sees of a stream."""

    def __init__(self, holder: Identity | None) -> None:
        self.holder, self.heard = holder, [Signal.DATA][1:]

    def wake(self, signal: Signal) -> None:
        self.heard.append(signal)


async def kept(log: MemoryLog) -> str:
    """Everything that the store knows of credentials, as text."""
    found = [await log.facts.find(kind, now="") for kind in ("key", "session", "ticket", "revoked")]
    return json.dumps(found)


async def test_a_key_opens_and_is_not_in_the_store(log: MemoryLog, access: Access) -> None:
    key, made = await access.make_key({"w": ROLES["operator"]}, name="ann")
    found = await access.bearer(key)
    assert found == made
    assert found.rights("w") == {"read", "run"}
    secret = key.split("_", 2)[2]
    assert len(secret) >= 43  # 256 bits
    assert secret not in await kept(log)


async def test_what_is_almost_a_key_opens_nothing(access: Access) -> None:
    key, _ = await access.make_key({"w": ROLES["viewer"]})
    other, _ = await access.make_key({"w": ROLES["admin"]})
    _, other_id, _ = other.split("_", 2)
    _, _, secret = key.split("_", 2)
    for wrong in (
        key[:-1],
        key + "x",
        key.upper(),
        f"tlr_{other_id}_{secret}",
        f"tlr_{other_id}_",
        f"tlr_{other_id}",
        "tlr_",
        "tlr__",
        "tlr_\xff_\xff",
        "eyJhbGciOiJub25lIn0.e30.",
        "",
    ):
        with pytest.raises(TokenInvalid):
            await access.bearer(wrong)


@given(st.text(max_size=200), st.sampled_from(["", "tlr_", "tlr_000000000000_", "eyJ", "a.b."]))
async def test_no_text_opens_anything_or_breaks_something(text: str, before: str) -> None:
    async with MemoryLog() as log:
        settings = Settings(store="memory:", jwt_keys="/nonexistent", jwt_audience="me")
        access = Access(settings, FakeClock(), log.facts)
        token = f"{before}{text}".encode("latin-1", "replace").decode("latin-1")
        with pytest.raises(TokenInvalid):
            await access.bearer(token)
        with pytest.raises(TicketInvalid):
            await access.ticket(token)
        with pytest.raises(TokenExpired):
            await access.session(token)


async def test_a_key_ends_at_its_time_and_that_is_said(access: Access, clock: FakeClock) -> None:
    until = clock.now() + timedelta(seconds=60)
    key, _ = await access.make_key({"w": ROLES["viewer"]}, expires_at=until)
    await clock.advance(59)
    await access.bearer(key)
    await clock.advance(1)
    with pytest.raises(TokenExpired):
        await access.bearer(key)
    assert [row["state"] for row in await access.keys()] == ["expired"]
    await clock.advance(40 * 86_400)
    with pytest.raises(TokenInvalid):  # long over, it is no longer known
        await access.bearer(key)


async def test_a_revoked_key_opens_nothing_in_any_process(
    log: MemoryLog, access: Access, clock: FakeClock
) -> None:
    key, made = await access.make_key({"w": ROLES["viewer"]})
    other_process = Access(Settings(store="memory:", auth=True), clock, log.facts)
    session, _ = await access.begin_session(made)
    ticket, _ = await access.make_ticket(made, "w", "X")
    key_id = made.credential.removeprefix("key:")
    await access.revoke_key(key_id)
    for one in (access, other_process):
        with pytest.raises(TokenRevoked):
            await one.bearer(key)
    with pytest.raises(TokenRevoked):
        await other_process.session(session)
    with pytest.raises(TokenRevoked):
        await other_process.ticket(ticket)
    assert [(row["id"], row["state"]) for row in await access.keys()] == [(key_id, "revoked")]
    with pytest.raises(TokenInvalid, match="There is no key"):
        await access.revoke_key("none")


async def test_a_ticket_opens_once_soon_and_only_what_it_is_for(
    access: Access, clock: FakeClock
) -> None:
    _, made = await access.make_key({"w": ROLES["admin"], EVERYWHERE: ROLES["admin"]})
    ticket, until = await access.make_ticket(made, "w", "X")
    assert until == EPOCH + timedelta(seconds=30)
    found = await access.ticket(ticket)
    assert (found.workspaces, found.executions) == ({}, {"X": {"read"}})
    assert found.credential == made.credential
    for used in (ticket, "never one", ""):
        with pytest.raises(TicketInvalid):
            await access.ticket(used)
    whole, _ = await access.make_ticket(made, "w")
    assert (await access.ticket(whole)).workspaces == {"w": {"read"}}
    late, _ = await access.make_ticket(made, "w", "X")
    await clock.advance(30)
    with pytest.raises(TicketInvalid):
        await access.ticket(late)


async def test_a_session_is_never_longer_than_its_credential(
    access: Access, clock: FakeClock
) -> None:
    until = clock.now() + timedelta(seconds=60)
    _, made = await access.make_key({"w": ROLES["viewer"]}, expires_at=until)
    secret, ends = await access.begin_session(made)
    assert ends == until
    found = await access.session(secret)
    assert (found.kind, found.expires_at) == ("session", until)
    assert found.rights("w") == {"read"}
    assert found.credentials[0] == made.credential
    await clock.advance(60)
    with pytest.raises(TokenExpired):
        await access.session(secret)


async def test_a_session_whose_end_the_store_refused_can_be_ended_again(
    log: MemoryLog, access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not gone by then, with its streams open for ever."""
    _, made = await access.make_key({"w": ROLES["operator"]})
    secret, _ = await access.begin_session(made)
    inside = Stream(await access.session(secret))

    async def busy(*_: object, **__: object) -> bool:
        raise StoreBusy

    with monkeypatch.context() as patch:
        patch.setattr(log.facts, "put", busy)
        with pytest.raises(StoreBusy):
            await access.end_session(secret)
    await access.end_session(secret)
    await access.look([inside])
    assert inside.heard == [Signal.REVOKED]


async def test_an_ended_session_takes_its_streams_with_it_and_no_others(access: Access) -> None:
    _, made = await access.make_key({"w": ROLES["viewer"]})
    secret, _ = await access.begin_session(made)
    inside, outside = Stream(await access.session(secret)), Stream(made)
    await access.end_session(secret)
    await access.end_session(secret)
    with pytest.raises(TokenExpired):
        await access.session(secret)
    await access.look([inside, outside])
    assert (inside.heard, outside.heard) == ([Signal.REVOKED], [])


async def test_the_look_ends_what_is_over_and_nothing_else(
    access: Access, clock: FakeClock
) -> None:
    soon = clock.now() + timedelta(seconds=10)
    _, short = await access.make_key({"w": ROLES["viewer"]}, expires_at=soon)
    _, long = await access.make_key({"w": ROLES["viewer"]})
    streams = [Stream(short), Stream(long), Stream(None)]
    await access.look(streams)
    assert [stream.heard for stream in streams] == [[], [], []]
    await clock.advance(10)
    await access.look(streams)
    assert [stream.heard for stream in streams] == [[Signal.LAPSED], [], []]
    await access.revoke(long.credential)
    await access.look(streams)
    assert [stream.heard[-1:] for stream in streams] == [[Signal.LAPSED], [Signal.REVOKED], []]


async def test_one_look_serves_all_streams_and_none_is_made_for_nobody(
    log: MemoryLog, access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    find = log.facts.find

    async def counting(*arguments: Any, **options: Any) -> Any:
        nonlocal looks
        looks += 1
        return await find(*arguments, **options)

    monkeypatch.setattr(log.facts, "find", counting)
    await access.look([Stream(None)])
    assert looks == 0
    await access.look([Stream(Identity(subject=str(n))) for n in range(100)])
    assert looks == 1


async def test_a_busy_store_ends_no_stream_but_what_expired(
    log: MemoryLog, access: Access, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def busy(*_: object, **__: object) -> Any:
        raise StoreBusy

    monkeypatch.setattr(log.facts, "find", busy)
    streams = [Stream(Identity(subject="a")), Stream(Identity(subject="b", expires_at=clock.now()))]
    await access.look(streams)
    assert [stream.heard for stream in streams] == [[], [Signal.LAPSED]]


async def test_it_looks_every_second(access: Access, clock: FakeClock) -> None:
    import anyio

    stream = Stream(Identity(subject="a", expires_at=clock.now() + timedelta(seconds=2)))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(access.keep_looking, lambda: [stream])
        await clock.advance(2 * LOOK_S - 0.1)
        assert stream.heard == []
        await clock.advance(0.1)
        assert stream.heard == [Signal.LAPSED]
        tasks.cancel_scope.cancel()


async def test_a_hook_knows_whom_it_knows(log: MemoryLog, clock: FakeClock) -> None:
    async def hook(asking: Asking) -> Identity | None:
        name = asking.headers.get("x-user")
        return Identity(subject=name, credentials=(f"user:{name}",)) if name else None

    access = Access(Settings(store="memory:"), clock, log.facts, hook)
    assert access.on
    asking = Asking(
        method="GET",
        path="/",
        headers={"x-user": "ann"},
        client=None,
        right="read",
        workspace="w",
        execution=None,
    )
    found = await access.custom(asking)
    assert found is not None
    assert found.subject == "ann"
    await access.revoke("user:ann")
    with pytest.raises(TokenRevoked):
        await access.custom(asking)


@pytest.mark.parametrize(
    ("settings", "on"),
    [
        ({}, False),
        ({"auth": True}, True),
        ({"jwt_keys": "f", "jwt_audience": "a"}, True),
        ({"jwt_keys": "f", "jwt_audience": "a", "auth": False}, False),
    ],
)
async def test_who_asks_whom(
    settings: dict[str, Any], on: bool, log: MemoryLog, clock: FakeClock
) -> None:
    made = Settings.model_validate({"store": "memory:"} | settings)
    assert Access(made, clock, log.facts).on is on
