"""Helpers for tests of flows and stores: public, shipped, and free of pytest.

`FakeClock` moves time by hand; `contract` holds the checks that every store must pass.
"""

from tailrace.testing.clock import FakeClock

__all__ = ["FakeClock"]
