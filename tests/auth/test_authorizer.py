"""Custom authorizers: what they see, what is kept, and what happens when they fail."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bff_core import Authorizer, AuthorizerRequest, DeclarationError, Principal, Problem, Refused

from .issuer import Clock, Recorder, scope_of


class Decide:
    """Knows the token "good"; counts how often it is asked."""

    def __init__(self) -> None:
        self.seen: list[AuthorizerRequest] = []
        self.error: BaseException | None = None

    async def __call__(self, request: AuthorizerRequest) -> Principal | None:
        self.seen.append(request)
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return Principal("u1", "custom") if request.headers["authorization"] == "good" else None


@pytest.fixture
def decide() -> Decide:
    return Decide()


def asked(value: str = "good", **more: str) -> dict[str, Any]:
    return scope_of(("authorization", value), ("cookie", "secret=1"), **more)


async def test_kept_under_the_identity(decide: Decide) -> None:
    """Good and bad answers alike, for their time; nothing but the identity is shown to the function."""
    auth, clock = Authorizer(decide, ttl=10), Clock(0.0)
    auth._answers._clock = clock
    for _ in range(3):
        assert await auth.authenticate(asked(path="/a")) == Principal("u1", "custom")
        with pytest.raises(Refused) as refused:
            await auth.authenticate(asked("bad", path="/b"))
        assert (refused.value.status, refused.value.challenge) == (401, "Bearer")
    assert decide.seen == [AuthorizerRequest({"authorization": "good"}), AuthorizerRequest({"authorization": "bad"})]
    clock.now = 10.0
    assert await auth.authenticate(asked())
    assert len(decide.seen) == 3


async def test_method_and_path_are_part_of_the_key_when_seen(decide: Decide) -> None:
    """An answer for one path is never used for another, if the path is shown at all."""
    auth = Authorizer(decide, identity=["Authorization", ":method", ":path"])
    for method, path in (("GET", "/a"), ("GET", "/b"), ("POST", "/a"), ("GET", "/a")):
        assert await auth.authenticate(asked(method=method, path=path))
    assert [(request.method, request.path) for request in decide.seen] == [("GET", "/a"), ("GET", "/b"), ("POST", "/a")]


async def test_single_flight(decide: Decide) -> None:
    """Identical requests at one time are one question, also when nothing is kept."""
    auth = Authorizer(decide, ttl=0)
    found = await asyncio.gather(*(auth.authenticate(asked()) for _ in range(20)))
    assert set(found) == {Principal("u1", "custom")}
    assert len(decide.seen) == 1
    await auth.authenticate(asked())
    assert len(decide.seen) == 2


@pytest.mark.parametrize("error", [RuntimeError("token good"), KeyError("x"), TimeoutError(), Problem(418)])
async def test_a_failure_is_a_503(decide: Decide, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it raises: neither a 500 nor a 401; and the next request asks again. Its message is not logged."""
    log = Recorder()
    monkeypatch.setattr("bff_core.auth.authorizer.log", log)
    auth, decide.error = Authorizer(decide), error
    for _ in range(2):
        with pytest.raises(Problem) as refused:
            await auth.authenticate(asked())
        assert refused.value.status == 503
    assert len(decide.seen) == 2
    assert log.lines == [{"event": "authorizer.failed", "error": type(error).__name__}] * 2
    decide.error = None
    assert await auth.authenticate(asked())


async def test_too_slow_and_of_another_type() -> None:
    """503 as well."""

    async def sleeps(_: AuthorizerRequest) -> Principal | None:
        await asyncio.sleep(3600)
        return None

    async def gives_a_dict(_: AuthorizerRequest) -> Any:
        return {"sub": "u1"}

    for auth in (Authorizer(sleeps, timeout=0.001), Authorizer(gives_a_dict)):
        with pytest.raises(Problem) as refused:
            await auth.authenticate(asked())
        assert refused.value.status == 503


async def test_missing_and_repeated_headers(decide: Decide) -> None:
    """Without one of the headers there are no credentials; one sent twice has no value that counts."""
    auth = Authorizer(decide, identity=["authorization", "x-client"])
    assert await auth.authenticate(asked()) is None
    assert await auth.authenticate(scope_of()) is None
    with pytest.raises(Refused):
        await Authorizer(decide).authenticate(scope_of(("authorization", "good"), ("authorization", "bad")))
    assert decide.seen == []


@pytest.mark.parametrize("identity", [[], [":path"], ["authorization", ":host"]])
def test_identities_that_are_none(decide: Decide, identity: list[str]) -> None:
    """Refused where they are written."""
    with pytest.raises(DeclarationError, match="identity"):
        Authorizer(decide, identity=identity)
