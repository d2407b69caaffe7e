"""Measure everything, or some scenarios.

python -m benchmarks                     everything (under 15 minutes), docs/benchmarks.md
python -m benchmarks fanout cpu          two scenarios
python -m benchmarks soak --soak-min 60  an hour of soak
python -m benchmarks fanout --rounds 1   faster, and less sure
"""

import argparse
import os
import sys
import time

from benchmarks.harness import CLIENT_CPU
from benchmarks.report import save, verdicts
from benchmarks.scenarios import SCENARIOS, Bench


def main() -> int:
    """Run, print the table, say what could not be measured."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(SCENARIOS))
    parser.add_argument("--rounds", type=int, help="interleaved (default: 3 of all, 2 of some)")
    parser.add_argument("--soak-min", type=float, default=2.0, help="minutes of soak (default 2)")
    asked = parser.parse_args()
    unknown = set(asked.scenarios) - set(SCENARIOS)
    if unknown:
        parser.error(
            f"no scenario is called {', '.join(unknown)}; there are {', '.join(SCENARIOS)}"
        )
    # Watching the measurement must not cost the server's core anything.
    os.sched_setaffinity(0, {int(CLIENT_CPU)})
    rounds = asked.rounds or (2 if asked.scenarios else 3)
    bench = Bench(rounds=rounds, soak_s=asked.soak_min * 60)
    for name in asked.scenarios or SCENARIOS:
        began = time.monotonic()
        words = " ".join((SCENARIOS[name].__doc__ or "").split())
        print(f"\n== {name}: {words}", flush=True)
        SCENARIOS[name](bench)
        print(f"   ({time.monotonic() - began:.0f} s)", flush=True)
        save(bench, whole=False)
    print(f"\n{verdicts(bench)}\n")
    for name, reason in bench.missing.items():
        print(f"not measured: {name}: {reason}")
    save(bench, whole=not asked.scenarios)
    return 0


if __name__ == "__main__":
    sys.exit(main())
