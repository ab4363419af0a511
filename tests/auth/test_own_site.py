"""Cookies of authorizers and auth services: what another site has a browser send does nothing."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from bff_core import (
    AnyOf,
    Authenticator,
    Authorizer,
    AuthorizerRequest,
    DeclarationError,
    ForwardAuth,
    Principal,
    Refused,
)

from .issuer import scope_of

ANN = Principal("ann")
COOKIE = ("cookie", "sid=ann")
HOST = ("host", "api.test")
OTHER = "https://shop.test"


async def by_cookie(request: AuthorizerRequest) -> Principal | None:
    return ANN if request.headers["cookie"] == "sid=ann" else None


def says_ann(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, headers={"x-auth-subject": "ann"})


def forward(**options: Any) -> ForwardAuth:
    options = {"forward": ["Authorization", "Cookie"], "origins": [OTHER]} | options
    return ForwardAuth("http://auth.test/check", transport=httpx.MockTransport(says_ann), **options)


@pytest.fixture(params=["authorizer", "forward", "any"])
def auth(request: pytest.FixtureRequest) -> Authenticator:
    if request.param == "forward":
        return forward()
    authorizer = Authorizer(by_cookie, identity=["Cookie"], origins=[OTHER])
    return authorizer if request.param == "authorizer" else AnyOf(authorizer)


@pytest.mark.parametrize(
    ("reason", "headers"),
    [
        ("csrf_site", [("sec-fetch-site", "cross-site"), ("origin", "https://evil.test")]),
        ("csrf_site", [("sec-fetch-site", "same-site"), ("origin", "https://api.test")]),
        ("csrf_site", [("sec-fetch-site", "none")]),
        ("csrf_origin", [("origin", "https://evil.test")]),
        ("csrf_origin", [("origin", "https://api.test.evil.test")]),
        ("csrf_origin", [("origin", "https://api.test:8443")]),
        ("csrf_origin", [("origin", "null")]),
        ("csrf_unknown", []),
        ("", [("sec-fetch-site", "same-origin"), ("origin", "https://api.test")]),
        ("", [("sec-fetch-site", "same-origin"), ("origin", "https://before-the-proxy.test")]),
        ("", [("origin", "https://api.test")]),
        ("", [("origin", "http://api.test")]),
        ("", [("sec-fetch-site", "same-site"), ("origin", OTHER)]),
    ],
)
async def test_an_unsafe_call_must_be_the_sites_own(
    auth: Authenticator, reason: str, headers: list[tuple[str, str]]
) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        scope = scope_of(COOKIE, HOST, *headers, method=method)
        if reason:
            with pytest.raises(Refused) as refused:
                await auth.authenticate(scope)
            assert (refused.value.status, refused.value.reason) == (403, reason)
        else:
            assert await auth.authenticate(scope) == ANN
    assert await auth.authenticate(scope_of(COOKIE, HOST, *headers)) == ANN


async def test_http_is_not_the_origin_where_tls_ends_here(auth: Authenticator) -> None:
    scope = scope_of(COOKIE, HOST, ("origin", "http://api.test"), method="POST")
    with pytest.raises(Refused):
        await auth.authenticate(scope | {"scheme": "https"})


async def test_who_bears_no_cookie_is_no_browser_that_was_misled() -> None:
    assert await forward().authenticate(scope_of(("authorization", "x"), method="POST")) == ANN
    assert await forward(forward=["Authorization"]).authenticate(
        scope_of(("authorization", "x"), COOKIE, method="POST")
    )


@pytest.mark.parametrize("origins", ["https://shop.test", ["https://shop.test/"], ["shop.test"], ["null"]])
def test_what_is_no_origin(origins: Any) -> None:
    with pytest.raises(DeclarationError, match="origins"):
        forward(origins=origins)
