"""Secrets at rest."""

from __future__ import annotations

import base64
import os

import pytest

from bff_core.errors import SettingsError
from bff_core.webhooks.sealing import Sealer


def key() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


def test_sealed_and_opened() -> None:
    sealer = Sealer([key()])
    sealed = sealer.seal("whsec_x", "ep_1")
    assert b"whsec" not in sealed
    assert sealer.open(sealed, "ep_1") == "whsec_x"
    assert sealer.seal("whsec_x", "ep_1") != sealed


def test_bound_to_its_place() -> None:
    """Who may write to the database cannot give one endpoint another's secret."""
    sealer = Sealer([key()])
    with pytest.raises(SettingsError):
        sealer.open(sealer.seal("whsec_x", "ep_1"), "ep_2")


def test_keys_are_changed_by_putting_the_new_one_first() -> None:
    old, new = key(), key().rstrip("=")
    sealed = Sealer([old]).seal("whsec_x", "ep_1")
    both = Sealer([new, old])
    assert both.open(sealed, "ep_1") == "whsec_x"
    assert Sealer([new]).open(both.seal("y", "ep_1"), "ep_1") == "y"
    with pytest.raises(SettingsError, match="another key"):
        Sealer([new]).open(sealed, "ep_1")


@pytest.mark.parametrize("wrong", ["", "hunter2", "A" * 42, "A" * 44, "é" * 43])
def test_what_is_no_key_is_not_repeated(wrong: str) -> None:
    with pytest.raises(SettingsError, match="32 bytes") as caught:
        Sealer([wrong])
    assert not wrong or wrong not in str(caught.value)


def test_no_key() -> None:
    with pytest.raises(SettingsError, match="need a key"):
        Sealer([])
