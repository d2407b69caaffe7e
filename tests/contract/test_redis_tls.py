"""Redis through TLS: the log, its watches and the queue, by a certificate that is trusted or not."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tailrace.errors import StoreUnavailable
from tailrace.log.redis import RedisLog
from tailrace.testing.contract.tools import begin, line, lines
from tailrace.work.base import Job
from tailrace.work.saq import SaqQueue
from tests.conftest import needs
from tests.contract.conftest import Losing, Redis
from tests.servers import PASSWORD, free_port


@dataclass
class Secure:
    """A server that speaks TLS on a port of its own, and the certificate that it shows."""

    port: int
    certificate: Path

    @property
    def url(self) -> str:
        return f"rediss://:{PASSWORD}@127.0.0.1:{self.port}?prefix=t"


@pytest.fixture
def secure(redis: Redis, tmp_path: Path) -> Iterator[Secure]:
    needs("openssl")
    key, certificate, port = tmp_path / "key.pem", tmp_path / "certificate.pem", free_port()
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "1", "-subj", "/CN=tests"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    server = redis.another(
        *("--tls-port", str(port), "--tls-auth-clients", "no"),
        *("--tls-cert-file", str(certificate), "--tls-key-file", str(key)),
    )
    yield Secure(port, certificate)
    server.remove()


async def test_all_that_a_server_and_a_worker_need_goes_through_tls(secure: Secure) -> None:
    url = f"{secure.url}&ssl_ca_certs={secure.certificate}"
    async with RedisLog(url) as log, RedisLog(url) as other:
        await begin(log)
        watch = Losing(log, "X1", 1)
        await other.append("X1", [line("told")])
        assert lines(await watch.until(2)) == ["told"]
    async with SaqQueue(url, patience_s=10) as queue:
        await queue.submit(Job(execution_id="X1"))
        assert (await queue.take(["default"])).execution_id == "X1"


async def test_a_certificate_that_nobody_vouches_for_is_said(secure: Secure) -> None:
    with pytest.raises(StoreUnavailable) as raised:
        async with RedisLog(secure.url):
            pass
    assert raised.value.hint
    assert "ssl_ca_certs=FILE" in raised.value.hint
    assert PASSWORD not in str(raised.value)
