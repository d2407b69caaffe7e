"""JWTs: golden cases of what is accepted, and what never is."""

import base64
import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from blockbuster import BlockBuster
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, HMACAlgorithm, OKPAlgorithm, RSAAlgorithm

from tailrace.auth import Identity
from tailrace.errors import InvalidSetting, KeysUnavailable, TokenExpired, TokenInvalid
from tailrace.jwts import REFETCH_S, STALE_S, Keys, Tokens, key_source, keys_of
from tailrace.settings import Settings
from tailrace.testing import FakeClock
from tailrace.testing.clock import EPOCH

SECRET = b"s" * 64
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
EC384 = ec.generate_private_key(ec.SECP384R1())
ED = ed25519.Ed25519PrivateKey.generate()
Jwk = dict[str, Any]


def jwk(made: str, **more: str) -> Jwk:
    return {**json.loads(made), **more}


OCT = jwk(HMACAlgorithm.to_jwk(SECRET), kid="oct")
RSA_JWK = jwk(RSAAlgorithm.to_jwk(RSA.public_key()), kid="rsa")
EC_JWK = jwk(ECAlgorithm.to_jwk(EC.public_key()), kid="ec")
EC384_JWK = jwk(ECAlgorithm.to_jwk(EC384.public_key()), kid="ec")
ED_JWK = jwk(OKPAlgorithm.to_jwk(ED.public_key()), kid="ed")
NOW = int(EPOCH.timestamp())
GOOD: Mapping[str, Any] = {
    "sub": "ann",
    "aud": "tailrace",
    "exp": NOW + 60,
    "workspaces": {"w": ["read"]},
}


def tokens(*keys: Jwk, clock: FakeClock | None = None, **settings: Any) -> Tokens:
    async def load() -> Sequence[Jwk]:
        return keys

    made = Settings.model_validate(
        {"store": "memory:", "jwt_keys": "unused", "jwt_audience": "tailrace"} | settings
    )
    clock = clock or FakeClock()
    return Tokens(made, clock, Keys(clock, made.jwt_cache_s, load))


def signed(key: Any = RSA, algorithm: str = "RS256", kid: str | None = None, **claims: Any) -> str:
    body = {name: value for name, value in {**GOOD, **claims}.items() if value is not ...}
    headers = {"kid": kid} if kid else None
    return jwt.encode(body, key, algorithm, headers=headers)


def forged(header: Mapping[str, Any], claims: Mapping[str, Any] = GOOD, signature: str = "") -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(p).encode()) for p in (header, claims)]
    return ".".join([*(part.rstrip(b"=").decode() for part in parts), signature])


@pytest.mark.parametrize(
    ("key", "algorithm", "public"),
    [
        (RSA, "RS256", RSA_JWK),
        (RSA, "PS512", RSA_JWK),
        (EC, "ES256", EC_JWK),
        (EC384, "ES384", EC384_JWK),
        (ED, "EdDSA", ED_JWK),
        (SECRET, "HS256", OCT),
    ],
)
async def test_each_algorithm_with_a_key_of_its_kind(key: Any, algorithm: str, public: Jwk) -> None:
    found = await tokens(public, jwt_algorithms=algorithm).identity(signed(key, algorithm))
    assert found == Identity(
        subject="ann",
        kind="jwt",
        workspaces={"w": frozenset({"read"})},
        expires_at=EPOCH + timedelta(seconds=90),  # with the leeway of 30 s
        credentials=found.credentials,
    )
    assert found.credentials[0] == "subject:ann"


async def test_a_token_without_a_signature_is_nothing() -> None:
    for none in ("none", "None", "NONE", "nOnE", ""):
        with pytest.raises(TokenInvalid):
            await tokens(RSA_JWK).identity(forged({"alg": none, "typ": "JWT"}))
    with pytest.raises(InvalidSetting, match="none"):
        tokens(RSA_JWK, jwt_algorithms="none")


async def test_a_public_key_is_never_the_secret_of_an_hmac() -> None:
    """The classic confusion: HS256, signed with the text of the public RSA key."""
    pem = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    # PyJWT does not even sign with that; an attacker has no such scruples.
    import hashlib
    import hmac

    unsigned = forged({"alg": "HS256", "typ": "JWT"})[:-1]
    mac = hmac.new(pem, unsigned.encode(), hashlib.sha256).digest()
    token = f"{unsigned}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    for algorithms in ("RS256", "HS256", "RS256,HS256"):
        with pytest.raises(TokenInvalid):
            await tokens(RSA_JWK, jwt_algorithms=algorithms).identity(token)


async def test_the_token_does_not_choose_its_algorithm_or_its_key() -> None:
    own = {**RSA_JWK, **jwk(RSAAlgorithm.to_jwk(OTHER_RSA.public_key()))}
    token = jwt.encode(dict(GOOD), OTHER_RSA, "RS256", headers={"jwk": own, "jku": "http://evil/"})
    with pytest.raises(TokenInvalid, match="nobody"):
        await tokens(RSA_JWK).identity(token)
    with pytest.raises(TokenInvalid, match="algorithm"):
        await tokens(RSA_JWK, jwt_algorithms="ES256").identity(signed())
    with pytest.raises(TokenInvalid, match="nobody"):  # the key says what it is for
        await tokens({**RSA_JWK, "alg": "PS256"}).identity(signed())
    with pytest.raises(TokenInvalid, match="nobody"):
        await tokens({**RSA_JWK, "use": "enc"}).identity(signed())
    with pytest.raises(TokenInvalid, match="nobody"):  # another curve than the algorithm's
        await tokens(EC384_JWK).identity(signed(EC, "ES256"))


@pytest.mark.parametrize(
    ("claims", "says"),
    [
        ({"aud": "other"}, "aud"),
        ({"aud": ["other", "another"]}, "aud"),
        ({"aud": ...}, "aud"),
        ({"iss": "https://evil"}, "iss"),
        ({"iss": ...}, "iss"),
        ({"exp": ...}, "exp"),
        ({"exp": True}, "exp|malformed"),
        ({"exp": 1e300}, "exp|malformed"),
        ({"nbf": NOW + 31}, "nbf"),
        ({"workspaces": ["w"]}, "workspaces"),
        ({"workspaces": {"w": ["fly"]}}, "workspaces"),
        ({"workspaces": {"w": 7}}, "workspaces"),
        ({"workspaces": {"w": [["read"]]}}, "workspaces"),
        ({"workspaces": {"w": []}}, "workspaces"),
        ({"execution": "X"}, "execution"),
        ({"workspaces": ..., "execution": 7}, "execution"),
    ],
)
async def test_claims_that_do_not_fit(claims: dict[str, Any], says: str) -> None:
    check = tokens(RSA_JWK, jwt_issuer="https://issuer")
    with pytest.raises(TokenInvalid, match=says):
        await check.identity(signed(**{"iss": "https://issuer"} | claims))


async def test_what_claims_give() -> None:
    check = tokens(RSA_JWK)
    one = await check.identity(signed(workspaces=..., execution="X"))
    assert (one.workspaces, one.executions) == ({}, {"X": {"read"}})
    some = await check.identity(
        signed(workspaces={"w": "operator", "v": ["write"]}, executions={"X": ["run"]}, jti="7")
    )
    assert some.workspaces == {"w": {"read", "run"}, "v": {"write"}}
    assert some.executions == {"X": {"run"}}
    assert some.credentials == ("subject:ann", "jwt:7")
    assert (await check.identity(signed(aud=["a", "tailrace"]))).subject == "ann"
    nothing = await check.identity(signed(workspaces=..., sub=...))
    assert not nothing.workspaces


async def test_a_token_ends_at_its_time_and_the_leeway() -> None:
    clock = FakeClock()
    check, token = tokens(RSA_JWK, clock=clock), signed(exp=NOW + 60)
    await clock.advance(89)
    assert (await check.identity(token)).expires_at == EPOCH + timedelta(seconds=90)
    await clock.advance(1)
    with pytest.raises(TokenExpired):
        await check.identity(token)


async def test_what_is_no_token_is_refused() -> None:
    check, good = tokens(RSA_JWK), signed()
    header, body, signature = good.split(".")
    for wrong in (
        "",
        "a",
        "..",
        "a.b.c",
        "\x00.\xff.\u20ac",
        good[:-8],
        f"{header}.{body}.",
        f"{header}.{body[:-2]}.{signature}",
        f"{body}.{header}.{signature}",
        good + "a" * 20_000,
        forged({"alg": ["RS256"]}),
        forged({"alg": {"a": 1}}),
        forged({"alg": "RS256", "kid": 7}),
        base64.urlsafe_b64encode(b"[" * 10_000).decode().rstrip("=") + f".{body}.{signature}",
        forged({"alg": "RS256", "crit": ["x"], "x": 1}, signature=signature),
    ):
        with pytest.raises(TokenInvalid):
            await check.identity(wrong)


async def test_an_hmac_key_that_can_be_guessed_is_not_used() -> None:
    short = jwk(HMACAlgorithm.to_jwk(b"secret"))
    unsigned = forged({"alg": "HS256"})[:-1]
    import hashlib
    import hmac

    mac = hmac.new(b"secret", unsigned.encode(), hashlib.sha256).digest()
    token = f"{unsigned}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    with pytest.raises(TokenInvalid):
        await tokens(short, jwt_algorithms="HS256").identity(token)


async def test_a_key_that_is_none_does_not_hide_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken: Jwk = {"kty": "RSA", "kid": "rsa"}
    wrong: Jwk = {"kty": "RSA", "kid": "rsa", "n": 7, "e": []}
    found = await tokens(broken, wrong, RSA_JWK).identity(signed())
    assert found.subject == "ann"
    assert "cannot be used" in caplog.text


# --- keys that change ----------------------------------------------------------------------------


class Issuer:
    """A key set that is fetched, counts how often, and may be away."""

    def __init__(self, *keys: Jwk) -> None:
        self.keys, self.fetched, self.away = keys, 0, False

    async def load(self) -> Sequence[Jwk]:
        self.fetched += 1
        if self.away:
            raise OSError("no route to host")
        return self.keys


def of(issuer: Issuer, clock: FakeClock) -> Tokens:
    settings = Settings(store="memory:", jwt_keys="unused", jwt_audience="tailrace")
    return Tokens(settings, clock, Keys(clock, settings.jwt_cache_s, issuer.load))


async def test_a_key_set_is_kept_and_fetched_anew_for_a_new_key() -> None:
    clock, issuer = FakeClock(), Issuer({**RSA_JWK, "kid": "1"})
    check = of(issuer, clock)
    for _ in range(3):
        await check.identity(signed(kid="1"))
    assert issuer.fetched == 1
    new = {**jwk(RSAAlgorithm.to_jwk(OTHER_RSA.public_key())), "kid": "2"}
    issuer.keys = (new,)
    await clock.advance(REFETCH_S)
    assert (await check.identity(signed(OTHER_RSA, kid="2"))).subject == "ann"
    assert issuer.fetched == 2
    with pytest.raises(TokenInvalid):  # what the issuer took back is gone with it
        await check.identity(signed(kid="1"))


async def test_made_up_key_ids_do_not_make_us_ask_the_issuer() -> None:
    clock, issuer = FakeClock(), Issuer({**RSA_JWK, "kid": "1"})
    check = of(issuer, clock)
    for number in range(50):
        with pytest.raises(TokenInvalid):
            await check.identity(signed(kid=f"made-up-{number}"))
    assert issuer.fetched == 1
    await clock.advance(REFETCH_S)
    for number in range(50):
        with pytest.raises(TokenInvalid):
            await check.identity(signed(kid=f"made-up-{number}"))
    assert issuer.fetched == 2


async def test_an_issuer_that_is_away_is_asked_seldom_and_remembered_for_a_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, issuer = FakeClock(), Issuer(RSA_JWK)
    check = of(issuer, clock)
    issuer.away = True
    for _ in range(3):
        with pytest.raises(KeysUnavailable):
            await check.identity(signed())
    assert issuer.fetched == 1
    issuer.away = False
    await clock.advance(REFETCH_S)
    assert (await check.identity(signed())).subject == "ann"
    issuer.away = True
    await clock.advance(300 + STALE_S - 1)
    assert (await check.identity(signed(exp=NOW + 10_000))).subject == "ann"
    await clock.advance(REFETCH_S)
    with pytest.raises(KeysUnavailable):
        await check.identity(signed(exp=NOW + 10_000))
    assert "could not be fetched" in caplog.text


async def test_keys_from_a_file(tmp_path: Path, blockbuster: BlockBuster) -> None:
    pem = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    one, many = tmp_path / "key.pem", tmp_path / "keys.json"
    blockbuster.deactivate()
    one.write_bytes(pem)
    many.write_text(json.dumps({"keys": [RSA_JWK, ED_JWK]}))
    blockbuster.activate()
    (found,) = await key_source(str(one))()
    assert (found["n"], found["e"]) == (RSA_JWK["n"], RSA_JWK["e"])
    assert await key_source(str(many))() == [RSA_JWK, ED_JWK]


def test_what_is_no_key_set_is_refused() -> None:
    for wrong in (b"", b"[]", b"{}", b'{"keys": 1}', b'{"keys": [1]}', b"-----BEGIN NOTHING-----"):
        with pytest.raises(ValueError):  # noqa: PT011 - of json, of cryptography, or ours
            keys_of(wrong)


def test_settings_that_cannot_be_safe_are_refused() -> None:
    with pytest.raises(InvalidSetting, match="audience"):
        tokens(RSA_JWK, jwt_audience=None)
    with pytest.raises(InvalidSetting, match="https"):
        key_source("http://issuer.example.org/keys")
    with pytest.raises(InvalidSetting, match="RS999"):
        tokens(RSA_JWK, jwt_algorithms="RS256,RS999")
