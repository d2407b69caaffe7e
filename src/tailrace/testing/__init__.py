"""Helpers for tests of flows and stores: public, shipped, and free of pytest.

`FakeClock` moves time by hand, `FaultyLog` fails when told to; `contract` holds the checks that every store must pass.
"""

from tailrace.testing.clock import FakeClock
from tailrace.testing.faults import FaultyLog

__all__ = ["FakeClock", "FaultyLog"]
