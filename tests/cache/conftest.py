"""Fixtures for the tests of caches."""

from __future__ import annotations

import pytest

from bff_core.cache.valkey import ValkeyStore


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a Valkey may need more than the 50 ms that a gateway gives it, and goes without."""
    monkeypatch.setitem(ValkeyStore.__init__.__kwdefaults__, "timeout", 5.0)
