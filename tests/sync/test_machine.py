"""Whatever goes wrong, and in whatever order: devices converge, and every mutation is done once."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from .machine import SyncMachine

TestSync = SyncMachine.TestCase
TestSync.settings = settings(
    max_examples=15, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestSync.pytestmark = [pytest.mark.timeout(400)]  # type: ignore[attr-defined]
