"""API keys: their form, where they stand, and that a wrong one costs no look-up."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff_core import ApiKey, ApiKeys, Principal, Refused, new_api_key
from bff_core.auth.key_form import well_formed

from .issuer import scope_of

KEY, OTHER = new_api_key(), new_api_key("test")
ACME = Principal("acme", "api_key", frozenset({"orders:read"}), "acme")


class Looked(dict[bytes, Any]):
    """The known keys; counts how often they are looked at."""

    count = 0

    def get(self, *arguments: Any) -> Any:
        self.count += 1
        return super().get(*arguments)


@pytest.fixture
def keys() -> ApiKeys:
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    keys = ApiKeys([ApiKey(sha256=digest, partner="acme", scopes=frozenset({"orders:read"}))])
    keys._keys = Looked(keys._keys)
    return keys


async def test_both_forms(keys: ApiKeys) -> None:
    """X-API-Key and Authorization: Bearer. A bearer token that is no key of ours is somebody else's business."""
    assert await keys.authenticate(scope_of(("x-api-key", KEY))) == ACME
    assert await keys.authenticate(scope_of(("authorization", f"Bearer {KEY}"))) == ACME
    assert await keys.authenticate(scope_of(("authorization", "Bearer a.b.c"))) is None
    assert await keys.authenticate(scope_of()) is None


@pytest.mark.parametrize(
    "headers",
    [
        [("x-api-key", KEY), ("x-api-key", KEY)],
        [("x-api-key", KEY), ("authorization", f"Bearer {OTHER}")],
        [("x-api-key", KEY), ("x-api-key", OTHER)],
    ],
)
async def test_two_keys_are_none(keys: ApiKeys, headers: list[tuple[str, str]]) -> None:
    """Nobody can say which one counts."""
    with pytest.raises(Refused) as refused:
        await keys.authenticate(scope_of(*headers))
    assert refused.value.reason == "duplicate_credentials"


@pytest.mark.parametrize(
    "wrong",
    [
        KEY[:-1] + ("0" if KEY[-1] != "0" else "1"),
        KEY[:12] + ("a" if KEY[12] != "a" else "b") + KEY[13:],
        KEY[:-1],
        KEY + "0",
        KEY.replace("live", "test"),
        "bff_live_",
        "x" * 257,
        "",
        "with space",
        "é",
        f"{KEY}\t",
    ],
    ids=lambda _: "",
)
async def test_a_wrong_form_costs_no_look_up(keys: ApiKeys, wrong: str) -> None:
    """A typing error, a cut, an invented key: refused by its checksum."""
    with pytest.raises(Refused) as refused:
        await keys.authenticate(scope_of(("x-api-key", wrong)))
    assert refused.value.reason == "key_form"
    assert refused.value.challenge == 'ApiKey realm="partner"'
    assert keys._keys.count == 0


async def test_unknown_keys(keys: ApiKeys) -> None:
    """One look, compared whole."""
    digest, principal = keys._keys[hashlib.sha256(KEY.encode()).digest()[:8]]
    neighbour = hashlib.sha256(OTHER.encode()).digest()
    keys._keys[neighbour[:8]] = (neighbour[:8] + digest[8:], principal)
    for wrong in (OTHER, new_api_key(), "anything"):
        with pytest.raises(Refused) as refused:
            await keys.authenticate(scope_of(("x-api-key", wrong)))
        assert refused.value.reason == "unknown_key"
    assert keys._keys.count == 3


@given(st.sampled_from(["live", "test"]), st.integers(9, 44), st.characters(codec="ascii", categories=["L", "N"]))
def test_new_keys(environment: Any, at: int, other: str) -> None:
    """Well formed, all different; with any character changed no longer."""
    key = new_api_key(environment)
    assert well_formed(key.encode())
    assert key != new_api_key(environment)
    changed = key[:at] + other + key[at + 1 :]
    assert well_formed(changed.encode()) is (changed == key)
