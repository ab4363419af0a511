"""Cache keys: two requests share one only if nothing tells them apart, the principal included."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bff_core import Principal, ServiceClient, get
from bff_core.clients import ResponseCache


class Api(ServiceClient, service="api"):
    @get("/a/{one}")
    async def ask(self, one: str, q: list[str] | None = None) -> None: ...


TEXT = st.text(alphabet="ab/?&=%\n\r\x00'\"(), é", max_size=4)
PRINCIPALS = st.none() | st.builds(
    Principal,
    subject=TEXT,
    kind=st.sampled_from(["user", "api_key"]),
    tenant=st.none() | TEXT,
    issuer=st.none() | TEXT,
    scopes=st.frozensets(TEXT, max_size=2),
)
REQUESTS = st.tuples(st.sampled_from(["a", "b"]), TEXT.filter(bool), st.lists(TEXT, max_size=2), PRINCIPALS)


def key(service: str, one: str, q: list[str], principal: Principal | None) -> bytes:
    target, headers, _ = Api.ask.template.render(Api.ask.arguments(f"x{one}", q))
    return ResponseCache.key(service, target, headers, principal)


@given(REQUESTS, REQUESTS)
def test_keys_tell_requests_apart(
    first: tuple[str, str, list[str], Principal | None], second: tuple[str, str, list[str], Principal | None]
) -> None:
    """Against the simplest model: the arguments themselves."""
    assert (key(*first) == key(*second)) is (first == second)


@given(TEXT, TEXT)
def test_somebody_is_never_nobody(subject: str, one: str) -> None:
    """What is kept for a principal is not what is kept for everybody."""
    assert key("a", f"y{one}", [], Principal(subject)) != key("a", f"y{one}", [], None)
