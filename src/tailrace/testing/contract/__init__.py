"""The promises of `tailrace.log.base`, as checks that every store must pass.

The law of this package: a check is a plain coroutine function over a `Bench`; no test framework,
no knowledge of a store. Whoever writes a store runs all of `CHECKS` against it:

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    async def test_contract(check): await check(MyBench())

A check waits for what it expects, never for time; give it a timeout of your own.
"""

from tailrace.testing.contract import (
    appending,
    facts,
    index,
    lifetime,
    producers,
    reading,
    watching,
    writers,
)
from tailrace.testing.contract.bench import CHECKS, Bench, Check, check

__all__ = [
    "CHECKS",
    "Bench",
    "Check",
    "appending",
    "check",
    "facts",
    "index",
    "lifetime",
    "producers",
    "reading",
    "watching",
    "writers",
]
