"""Bad luck for the sync, for long: ``python -m bench.sync_soak --steps 10000``.

The state machine of the tests (several devices, two replicas, a model shop; lost answers, kills, failing services,
rotated keys, clocks that jump) in many runs; each must converge with every mutation done once.
"""

from __future__ import annotations

import argparse
import time
import unittest

from hypothesis import HealthCheck, Phase, settings

from tests.sync.machine import SyncMachine

STEPS_PER_RUN = 50


def main() -> int:
    """Exit status 0 when every run converged; otherwise hypothesis has printed the shortest one that does not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000)
    steps = parser.parse_args().steps
    case = SyncMachine.TestCase
    case.settings = settings(
        max_examples=max(1, steps // STEPS_PER_RUN),
        stateful_step_count=STEPS_PER_RUN,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    started = time.monotonic()
    result = unittest.TextTestRunner().run(unittest.defaultTestLoader.loadTestsFromTestCase(case))
    print(f"about {steps} steps in {time.monotonic() - started:.0f} s: {'ok' if result.wasSuccessful() else 'FAILED'}")
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    raise SystemExit(main())
