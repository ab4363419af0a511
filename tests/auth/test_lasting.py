"""Whose the last good value is: what a renewed token leaves as it was, and what it does not."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from typing import Any

import pytest

from bff_core import Principal
from bff_core.auth.lasting import lasting

CLAIMS = {"sub": "ann", "org": "o1", "exp": 10, "iat": 1, "nbf": 1, "jti": "a"}


def token(**claims: Any) -> str:
    payload = urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"e30.{payload}.{claims.get('exp')}"


def mark(access: str | None, **more: Any) -> bytes:
    return lasting(Principal("ann", token=access, **more))


def test_a_renewed_token_says_the_same() -> None:
    renewed = token(jti="b", nbf=2, iat=2, exp=20, org="o1", sub="ann")
    assert mark(token(**CLAIMS)) == mark(renewed)


@pytest.mark.parametrize("other", [{"org": "o2"}, {"sub": "bob"}, {"more": [1]}, {"org": None}])
def test_one_that_says_something_else(other: dict[str, Any]) -> None:
    assert mark(token(**CLAIMS)) != mark(token(**CLAIMS | other))


@pytest.mark.parametrize("form", ["{}", "e30.{}.s", "e30.W10{}.s", "e30.bnVsbA.{}", "a.b.c.d.{}"])
def test_of_one_that_cannot_be_read_each_is_another(form: str) -> None:
    assert mark(form.format("a")) == mark(form.format("a")) != mark(form.format("b"))


def test_one_that_nobody_can_read_for_its_depth() -> None:
    deep = urlsafe_b64encode(b'{"a":' + b"[" * 100_000).decode().rstrip("=")
    assert mark(f"e30.{deep}.s")


def test_the_identity_counts_besides() -> None:
    access = token(**CLAIMS)
    assert len({mark(access), mark(access, tenant="t"), mark(None), lasting(None), mark("opaque")}) == 5
    assert lasting(None) == b""
    assert access.encode() not in mark(access)
