"""Fixtures for the tests of caches."""

from __future__ import annotations

import pytest

from bff_core.cache import valkey

PUT = valkey.PUT


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a Valkey may need more than the 50 ms that a gateway gives it, and goes without."""
    monkeypatch.setitem(valkey.ValkeyStore.__init__.__kwdefaults__, "timeout", 5.0)


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """There an answer may also be older than the second after which it could be too old to be kept: a minute, here."""
    script = valkey.PUT.replace(f"> {valkey.QUICK} ", f"> {60 * valkey.QUICK} ")
    assert script != valkey.PUT
    monkeypatch.setattr(valkey, "PUT", script)
