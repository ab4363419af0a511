"""Fixtures for the tests of caches."""

from __future__ import annotations

import pytest

from bff_core.cache import valkey


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a Valkey may need more than the 50 ms that a gateway gives it, and goes without; and an answer
    more than the second after which it may be too old to be kept."""
    monkeypatch.setitem(valkey.ValkeyStore.__init__.__kwdefaults__, "timeout", 5.0)
    script = valkey.PUT.replace(f"> {valkey.QUICK} ", f"> {60 * valkey.QUICK} ")
    assert script != valkey.PUT
    monkeypatch.setattr(valkey, "PUT", script)
