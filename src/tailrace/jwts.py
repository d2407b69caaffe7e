"""JSON Web Tokens: checked by the keys and algorithms that the settings name.

The law of this file: nothing that a token says decides how it is checked. The algorithms are those
of the settings, a key is only used for algorithms of its own kind, and what is not understood is
refused. Times come from the clock, never from the library.

Claims, beside `sub`, `exp` (needed), `nbf`, `iss`, `aud` and `jti`:

    workspaces  {"w": ["read"], "v": "operator"}: rights, or a role, in each
    executions  {"ID": ["read", "run"]}: rights on single executions, beside those
    execution   "ID": to read this one and nothing else; not together with the two above
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from pydantic_core import from_json

from tailrace.auth import Identity, Right, rights_of
from tailrace.clock import Clock
from tailrace.errors import InvalidSetting, KeysUnavailable, TokenExpired, TokenInvalid
from tailrace.settings import Settings

_logger = logging.getLogger("tailrace")
Jwk = Mapping[str, Any]

# What kind of key, and on which curve, each algorithm takes: a public RSA key is never the secret
# of an HMAC. Algorithms that are not here (`none` above all) do not exist.
KEY_OF: Mapping[str, tuple[str, str | None]] = {
    **dict.fromkeys(("HS256", "HS384", "HS512"), ("oct", None)),
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), ("RSA", None)),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
TOKEN_MAX = 16_384
KEYS_MAX_BYTES = 1_048_576
KEYS_TRIED = 8  # of those that fit, where a token names none
REFETCH_S = 10.0  # at most this often: a stranger can make up as many key ids as they like
STALE_S = 3600.0  # how long keys are used that can no longer be fetched
FETCH_S = 5.0


class Keys:
    """A key set, kept for a time, and fetched again for a key id that is not in it."""

    def __init__(
        self, clock: Clock, cache_s: float, load: Callable[[], Awaitable[Sequence[Jwk]]]
    ) -> None:
        self._clock, self._cache_s, self._load = clock, cache_s, load
        self._keys: Sequence[Jwk] = ()
        self._fetched_at = self._tried_at = float("-inf")
        self._lock = anyio.Lock()

    async def find(self, key_id: str | None, algorithm: str) -> Sequence[Jwk]:
        """The keys that may have signed this. Raises KeysUnavailable."""
        found = _fitting(await self._at_most(self._cache_s), key_id, algorithm)
        return found or _fitting(await self._at_most(REFETCH_S), key_id, algorithm)

    async def _at_most(self, age_s: float) -> Sequence[Jwk]:
        """The keys, not older than this if that can be."""
        async with self._lock:
            now = self._clock.monotonic()
            if now - self._fetched_at >= age_s and now - self._tried_at >= REFETCH_S:
                self._tried_at = now
                try:
                    self._keys = await self._load()
                    self._fetched_at = now
                except (OSError, ValueError, httpx.HTTPError) as error:
                    _logger.warning("the keys of tokens could not be fetched: %r", error)
            if now - self._fetched_at >= self._cache_s + STALE_S:
                raise KeysUnavailable
            return self._keys


def _fitting(keys: Sequence[Jwk], key_id: str | None, algorithm: str) -> Sequence[Jwk]:
    kind, curve = KEY_OF[algorithm]
    return [
        key
        for key in keys
        if key.get("kty") == kind
        and (curve is None or key.get("crv") == curve)
        and key.get("alg", algorithm) == algorithm
        and key.get("use", "sig") == "sig"
        and (key_id is None or key.get("kid", key_id) == key_id)
    ][:KEYS_TRIED]


def key_source(where: str) -> Callable[[], Awaitable[Sequence[Jwk]]]:
    """How the keys of a setting are got: from a URL, or from a file. Raises InvalidSetting."""
    url = urlsplit(where)
    if url.scheme not in ("http", "https"):
        return lambda: anyio.to_thread.run_sync(_read, Path(where).expanduser())
    if url.scheme == "http" and url.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise InvalidSetting(
            f"jwt_keys: {where} is not https", hint="Who can change keys on the way is anybody."
        )

    async def fetch() -> Sequence[Jwk]:
        # Made in a thread: it reads the system's certificates, and streams would wait for that.
        trust = await anyio.to_thread.run_sync(httpx.create_ssl_context)
        async with (
            httpx.AsyncClient(timeout=FETCH_S, verify=trust) as http,
            http.stream("GET", where, headers={"Accept": "application/json"}) as answer,
        ):
            if answer.status_code != 200:
                raise ValueError(f"{where} answered {answer.status_code}")
            body = bytearray()
            async for piece in answer.aiter_bytes():
                body += piece
                if len(body) > KEYS_MAX_BYTES:
                    raise ValueError(f"{where} is longer than {KEYS_MAX_BYTES} bytes")
            return keys_of(bytes(body))

    return fetch


def _read(path: Path) -> Sequence[Jwk]:
    with path.open("rb") as file:
        return keys_of(file.read(KEYS_MAX_BYTES))


def keys_of(text: bytes) -> Sequence[Jwk]:
    """Read a key set (RFC 7517), or one public key (PEM). Raises ValueError."""
    if text.lstrip().startswith(b"-----BEGIN"):
        return [from_json(_jwk_of(text))]
    body = from_json(text)
    keys = body.get("keys") if isinstance(body, dict) else None
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise ValueError("not a key set: it has no list `keys`")
    return keys


def _jwk_of(pem: bytes) -> str:
    key = load_pem_public_key(pem)  # a private key is refused here: it has no business with us
    if isinstance(key, RSAPublicKey):
        return RSAAlgorithm.to_jwk(key)
    if isinstance(key, EllipticCurvePublicKey):
        return ECAlgorithm.to_jwk(key)
    if isinstance(key, Ed25519PublicKey):
        return OKPAlgorithm.to_jwk(key)
    raise ValueError(f"keys of the kind {type(key).__name__} are not used")


class Tokens:
    """Checks tokens. Made once, from the settings; raises InvalidSetting where they cannot be."""

    def __init__(self, settings: Settings, clock: Clock, keys: Keys | None = None) -> None:
        assert settings.jwt_keys is not None
        names = [name.strip() for name in settings.jwt_algorithms.split(",")]
        if unknown := set(names) - KEY_OF.keys():
            known = ", ".join(KEY_OF)
            raise InvalidSetting(f"jwt_algorithms: {unknown.pop()!r} is none of: {known}")
        if not settings.jwt_audience:
            hint = "Without it, a token that was made for another service would do."
            raise InvalidSetting("jwt_audience: needed where there are jwt_keys", hint=hint)
        self._algorithms, self._audience = frozenset(names), settings.jwt_audience
        self._issuer, self._clock = settings.jwt_issuer, clock
        self._leeway = timedelta(seconds=settings.jwt_leeway_s)
        source = key_source(settings.jwt_keys)
        self._keys = keys or Keys(clock, settings.jwt_cache_s, source)

    async def identity(self, token: str) -> Identity:
        """Who a token is of. Raises TokenInvalid, TokenExpired, KeysUnavailable."""
        algorithm, key_id = self._header(token)
        for key in await self._keys.find(key_id, algorithm):
            claims = self._claims(token, key, algorithm)
            if claims is not None:
                return self._identity(claims, token)
        raise TokenInvalid("The token was signed by nobody who is known here")

    def _header(self, token: str) -> tuple[str, str | None]:
        if len(token) > TOKEN_MAX:
            raise TokenInvalid("The token is too long")
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.InvalidTokenError, RecursionError):
            raise TokenInvalid("The credential is neither a key of this server nor a JWT") from None
        algorithm, key_id = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise TokenInvalid("The token's algorithm is not accepted here")
        return algorithm, None if key_id is None else str(key_id)

    def _claims(self, token: str, key: Jwk, algorithm: str) -> dict[str, Any] | None:
        """The claims, if this key signed them."""
        try:
            made = jwt.PyJWK(dict(key), algorithm)
        except (jwt.PyJWTError, ValueError, TypeError, KeyError) as error:
            _logger.warning("a key of the key set cannot be used: %r", error)
            return None
        try:
            return jwt.decode(
                token,
                made,
                algorithms=[algorithm],
                audience=self._audience,
                issuer=self._issuer,
                options={
                    "require": ["exp"],
                    "enforce_minimum_key_length": True,
                    "verify_exp": False,  # these three: by our clock, below
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except (jwt.InvalidSignatureError, jwt.InvalidKeyError):
            return None
        except jwt.MissingRequiredClaimError as error:
            raise TokenInvalid(f"The token has no `{error.claim}`") from None
        except jwt.InvalidAudienceError:
            raise TokenInvalid("The token is for another service (`aud`)") from None
        except jwt.InvalidIssuerError:
            raise TokenInvalid("The token is of another issuer (`iss`)") from None
        except jwt.PyJWTError:
            raise TokenInvalid("The token is malformed") from None

    def _identity(self, claims: dict[str, Any], token: str) -> Identity:
        now = self._clock.now()
        expires_at = _moment(claims, "exp") + self._leeway
        if expires_at <= now:
            raise TokenExpired("The token's time is over")
        if "nbf" in claims and _moment(claims, "nbf") - self._leeway > now:
            raise TokenInvalid("The token is not good yet (`nbf`)")
        name = str(claims.get("jti") or sha256(token.encode()).hexdigest()[:32])
        subject = str(claims.get("sub") or name)
        executions = _rights(claims, "executions")
        workspaces = _rights(claims, "workspaces")
        if "execution" in claims:
            if executions or workspaces or not isinstance(claims["execution"], str):
                raise TokenInvalid("`execution` is an id, and stands alone")
            executions = {claims["execution"]: frozenset[Right]({"read"})}
        return Identity(
            subject=subject,
            kind="jwt",
            workspaces=workspaces,
            executions=executions,
            expires_at=expires_at,
            # Counted by its subject: one who renews their tokens stays the same.
            credentials=(f"subject:{subject}", f"jwt:{name}"),
        )


def _moment(claims: Mapping[str, Any], name: str) -> datetime:
    try:
        if isinstance(claims[name], bool):
            raise ValueError
        return datetime.fromtimestamp(float(claims[name]), UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        raise TokenInvalid(f"`{name}` is not a time") from None


def _rights(claims: Mapping[str, Any], name: str) -> dict[str, frozenset[Right]]:
    given = claims.get(name, {})
    if not isinstance(given, dict):
        raise TokenInvalid(f"`{name}` is not an object")
    try:
        return {str(key): rights_of(names) for key, names in given.items()}
    except (TypeError, ValueError):
        raise TokenInvalid(f"`{name}` holds something that is no right") from None
