"""Bearer tokens: whose are trusted, for how long, and a table of attacks."""

from __future__ import annotations

import hmac
import json
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt

from bff_core import BearerJwt, DeclarationError, Principal, Refused
from bff_core.auth.jwt import BadToken, read_token

from .issuer import AUDIENCE, EC, ISSUER, KEYS, Clock, Issuer, ask, b64, bearer, payload, reason, scope_of

HEAD = b'{"alg":"RS256","kid":"k1"}'
NOW = 1_700_000_000


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def auth(issuer: Issuer) -> BearerJwt:
    return bearer(issuer)


async def test_a_good_token(auth: BearerJwt, issuer: Issuer) -> None:
    """Whose it is, and verified once: its keys are fetched once."""
    token = issuer.token(tenant="t1")
    first = await ask(auth, token)
    assert first == Principal("u1", scopes=frozenset({"read", "write"}), tenant="t1", issuer=ISSUER)
    assert first is not None
    assert first.token == token
    assert first.claims["iss"] == ISSUER
    assert await ask(auth, token) is first
    assert await ask(auth, issuer.token(sub="u2")) == Principal(
        "u2", scopes=frozenset({"read", "write"}), issuer=ISSUER
    )
    assert issuer.asked == 1
    assert token not in repr(first)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"iss": "https://other.test"}, "wrong_issuer"),
        ({"iss": f"{ISSUER}/"}, "wrong_issuer"),
        ({"iss": [ISSUER]}, "wrong_issuer"),
        ({"iss": None}, "wrong_issuer"),
        ({"aud": "other"}, "wrong_audience"),
        ({"aud": None}, "wrong_audience"),
        ({"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}, "bound"),
        ({"cnf": {"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}}, "bound"),
        ({"aud": []}, "wrong_audience"),
        ({"aud": ["other", 1, AUDIENCE]}, "wrong_audience"),
        ({"aud": {AUDIENCE: True}}, "wrong_audience"),
        ({"aud": AUDIENCE.upper()}, "wrong_audience"),
        ({"exp": 1}, "expired"),
        ({"exp": -(10**30)}, "expired"),
        ({"exp": None}, "claim_missing"),
        ({"exp": "9999999999"}, "claim_type"),
        ({"exp": True}, "claim_type"),
        ({"exp": [9_999_999_999]}, "claim_type"),
        ({"exp": 10**400}, "claim_type"),
        ({"nbf": 9_999_999_999}, "not_yet_valid"),
        ({"nbf": "0"}, "claim_type"),
        ({"nbf": False}, "claim_type"),
        ({"iat": 9_999_999_999}, "not_yet_valid"),
        ({"sub": None}, "claim_type"),
        ({"sub": 1}, "claim_type"),
        ({"sub": ""}, "claim_type"),
        ({"scope": 7}, "claim_type"),
        ({"scope": ["read", 7]}, "claim_type"),
        ({"tenant": ["t1", "t2"]}, "claim_type"),
        ({"tenant": "a\0b"}, "claim_type"),
        ({"tenant": "x" * 256}, "claim_type"),
        ({"tenant": "https://issuer.example|ann"}, "claim_type"),
    ],
)
async def test_wrong_claims(auth: BearerJwt, issuer: Issuer, changes: dict[str, Any], why: str) -> None:
    """Each of them alone is enough to be nobody; the keys are not even looked at."""
    assert await reason(auth, issuer.token(**changes)) == why
    assert issuer.asked == 0


@pytest.mark.parametrize(
    ("head", "body", "why"),
    [
        pytest.param(HEAD, payload(), "", id="the good one that the others are made of"),
        pytest.param(b'{"alg":"none"}', payload(), "algorithm", id="none"),
        pytest.param(b'{"alg":"nOnE"}', payload(), "algorithm", id="none in another case"),
        pytest.param(b'{"alg":"RS512","kid":"k1"}', payload(), "algorithm", id="not on the list"),
        pytest.param(b'{"alg":["RS256"],"kid":"k1"}', payload(), "header_type", id="a list of algorithms"),
        pytest.param(b'{"kid":"k1"}', payload(), "header_type", id="no algorithm"),
        pytest.param(b'{"alg":"RS256","kid":"../../../dev/null"}', payload(), "unknown_key", id="kid: path"),
        pytest.param(b'{"alg":"RS256","kid":"k1\' OR 1=1 --"}', payload(), "unknown_key", id="kid: SQL"),
        pytest.param(b'{"alg":"RS256","kid":"http://evil.test/k"}', payload(), "unknown_key", id="kid: URL"),
        pytest.param(b'{"alg":"RS256","kid":"k1\\u0000"}', payload(), "unknown_key", id="kid: NUL"),
        pytest.param(b'{"alg":"RS256","kid":"%b"}' % (b"k" * 300), payload(), "header_type", id="kid: huge"),
        pytest.param(b'{"alg":"RS256","kid":{"$ne":null}}', payload(), "header_type", id="kid: an object"),
        pytest.param(b'{"alg":"RS256","kid":1}', payload(), "header_type", id="kid: a number"),
        pytest.param(b'{"alg":"RS256","kid":"k1","crit":["exp"]}', payload(), "critical_header", id="crit"),
        pytest.param(b'{"alg":"RS256","kid":"k1","crit":[]}', payload(), "critical_header", id="crit: empty"),
        pytest.param(
            b'{"alg":"RS256","kid":"k1","crit":["x"],"x":1}', payload(), "critical_header", id="crit: unknown"
        ),
        pytest.param(b'{"alg":"RS256","kid":"k1","b64":false}', payload(), "critical_header", id="b64"),
        pytest.param(b'{"alg":"RS256","kid":"k1","alg":"none"}', payload(), "duplicate_member", id="alg twice"),
        pytest.param(HEAD, payload()[:-1] + b',"sub":"admin"}', "duplicate_member", id="sub twice"),
        pytest.param(HEAD, payload()[:-1] + b',"x":{"a":1,"a":2}}', "duplicate_member", id="twice inside"),
        pytest.param(HEAD, payload()[:-1] + b',"su\\u0062":"admin"}', "duplicate_member", id="twice, escaped"),
        pytest.param(HEAD, b'["sub"]', "not_an_object", id="a list"),
        pytest.param(HEAD, b'"u1"', "not_an_object", id="a text"),
        pytest.param(HEAD, b"null", "not_an_object", id="null"),
        pytest.param(b"[]", payload(), "not_an_object", id="the header a list"),
        pytest.param(HEAD, b"{", "not_json", id="half an object"),
        pytest.param(HEAD, b"{} {}", "not_json", id="two objects"),
        pytest.param(HEAD, b"\xff\xfe{}", "not_json", id="not UTF-8"),
        pytest.param(HEAD, payload()[:-1] + b',"x":NaN}', "not_json", id="NaN"),
        pytest.param(HEAD, payload(exp=None)[:-1] + b',"exp":Infinity}', "not_json", id="exp: Infinity"),
        pytest.param(HEAD, payload(exp=None)[:-1] + b',"exp":1e999}', "claim_type", id="exp: 1e999"),
        pytest.param(HEAD, payload()[:-1] + b',"x":' + b"[" * 40 + b"]" * 40 + b"}", "too_deep", id="deep"),
        pytest.param(HEAD, b"[" * 2500 + b"]" * 2500, "not_json|not_an_object", id="very deep"),
        pytest.param(HEAD, payload(x="y" * 9000), "too_large", id="huge"),
    ],
)
async def test_attacks_with_a_good_signature(
    auth: BearerJwt, issuer: Issuer, head: bytes, body: bytes, why: str
) -> None:
    """Signed with the published key, so that nothing but the attacked check can refuse them."""
    assert await reason(auth, issuer.by_hand(head, body)) in why.split("|")


async def test_forged_tokens(auth: BearerJwt, issuer: Issuer) -> None:
    """Another key under a known id, the public key as an HMAC secret, no signature, mangled ones."""
    good = issuer.token()
    head, body, signature = good.split(".")
    stranger = KEYS["stranger"]
    assert await reason(auth, issuer.token(stranger, header={"kid": "k1"})) == "signature"
    assert await reason(auth, f"{head}.{body}.{signature[:-8]}AAAAAAAA") == "signature"
    assert await reason(auth, f"{head}.{b64(payload(sub='admin')).decode()}.{signature}") == "signature"
    mangled = [f"{head}.{body}.", f"{head}..{signature}", f"{head}.{body}", f"{good}.{signature}", "....", "x", "a.b.c"]
    mangled += [f"{head}.{body}.{signature}=", f"{head}.{body}+.{signature}", f"{head}.{body}\n.{signature}", "é.é.é"]
    for token in mangled:
        assert await reason(auth, token) in ("not_a_jwt", "not_json"), token[:40]
    for secret in (KEYS["k1"].as_pem(private=False), json.dumps(KEYS["k1"].as_dict(private=False)).encode(), b""):
        # The algorithm confusion that careless libraries fall for, by hand: ours would not even make such a token.
        signed = b64(b'{"alg":"HS256","kid":"k1"}').decode() + "." + body
        mac = b64(hmac.digest(secret, signed.encode(), "sha256")).decode()
        assert await reason(auth, f"{signed}.{mac}") == "algorithm"


async def test_keys_brought_along_are_ignored(issuer: Issuer) -> None:
    """jku, x5u, jwk and x5c name a stranger's key: it is neither fetched nor used."""
    auth, stranger = bearer(issuer), KEYS["stranger"]
    public = stranger.as_dict(private=False)
    for header in (
        {"jku": "https://evil.test/jwks"},
        {"x5u": "https://evil.test/cert"},
        {"jwk": public},
        {"x5c": ["MIIB"]},
    ):
        head = json.dumps({"alg": "RS256", "kid": "k1"} | header).encode()
        assert await reason(auth, issuer.by_hand(head, payload(), stranger)) == "signature"
        assert await reason(auth, issuer.by_hand(head, payload())) == ""
    assert issuer.asked == 1


async def test_a_key_is_used_for_its_own_algorithm_only(issuer: Issuer) -> None:
    """An EC token under an RSA key's id, RS512 with a key published for RS256, a published secret: no key is found."""
    issuer.keys.append(EC)
    auth = bearer(issuer, algorithms=["RS256", "RS512", "ES256"])
    assert await reason(auth, issuer.token(EC)) == ""
    assert await reason(auth, issuer.token(EC, header={"kid": "k1"})) == "unknown_key"
    assert await reason(auth, issuer.by_hand(b'{"alg":"RS512","kid":"k1"}', payload())) == "unknown_key"
    assert await reason(auth, issuer.by_hand(b'{"alg":"ES256","kid":"k1"}', payload())) == "unknown_key"
    assert await reason(auth, issuer.by_hand(b'{"alg":"RS256","kid":"e1"}', payload())) == "unknown_key"


async def test_a_token_without_a_kid(issuer: Issuer) -> None:
    """Good as long as there is but one key it could mean."""
    auth = bearer(issuer)
    assert await reason(auth, issuer.by_hand(b'{"alg":"RS256"}', payload())) == ""
    issuer.keys.append(KEYS["k2"])
    assert await reason(bearer(issuer), issuer.by_hand(b'{"alg":"RS256"}', payload())) == "unknown_key"


@pytest.mark.parametrize("algorithms", [[], ["none"], ["HS256"], ["RS256", "HS256"], ["RS257"]])
def test_algorithms_that_cannot_be_trusted(algorithms: list[str]) -> None:
    """Refused where they are written."""
    with pytest.raises(DeclarationError, match="algorithms"):
        BearerJwt(issuer=ISSUER, audience=AUDIENCE, jwks_url="https://issuer.test/jwks", algorithms=algorithms)


@pytest.mark.parametrize("wrong", [{"issuer": ""}, {"audience": []}, {"jwks_url": "file:///etc/passwd"}])
def test_what_would_trust_anybody(issuer: Issuer, wrong: dict[str, Any]) -> None:
    """An empty issuer or audience, keys from anywhere but a server."""
    with pytest.raises(DeclarationError):
        bearer(issuer, **wrong)


async def test_type_audiences_required_claims(issuer: Issuer) -> None:
    """What RFC 9068 and the gateway's author ask for on top."""
    auth = bearer(issuer, typ="at+jwt", audience=["shop", "shop-web"], required=["tenant", "jti"])
    good = {"tenant": "t1", "jti": "1"}
    for typ in ("at+jwt", "AT+JWT", "application/at+jwt"):
        assert await reason(auth, issuer.token(header={"typ": typ}, **good)) == ""
    assert await reason(auth, issuer.token(header={"typ": "at+jwt"}, aud=["x", "shop-web"], **good)) == ""
    assert await reason(auth, issuer.token(header={"typ": "JWT"}, **good)) == "wrong_type"
    assert await reason(auth, issuer.token(**good)) == "wrong_type"
    assert await reason(auth, issuer.token(header={"typ": "at+jwt"}, tenant="t1")) == "claim_missing"
    assert await reason(auth, issuer.token(header={"typ": "at+jwt"}, jti="1", tenant="")) == "claim_missing"


async def test_scopes_and_tenant_from_other_claims(issuer: Issuer) -> None:
    """Words or a list, under the issuer's own names."""
    auth = bearer(issuer, scope_claim="permissions", tenant_claim="org")
    principal = await ask(auth, issuer.token(permissions=["orders:read", ""], org="acme"))
    assert principal is not None
    assert (principal.scopes, principal.tenant) == ({"orders:read"}, "acme")


async def test_leeway_and_expiry_of_what_is_remembered(issuer: Issuer) -> None:
    """A remembered token is no longer good when it has expired, and is looked at again after five minutes."""
    clock = Clock(NOW)
    auth = bearer(issuer, clock=clock, leeway=30)
    token = issuer.token(exp=NOW + 1000, nbf=NOW + 30)
    assert await reason(auth, token) == ""
    first = await ask(auth, token)
    clock.now = NOW + 299
    assert await ask(auth, token) is first
    clock.now = NOW + 301
    assert await ask(auth, token) is not first
    clock.now = NOW + 1029.9
    assert await reason(auth, token) == ""
    clock.now = NOW + 1030
    assert await reason(auth, token) == "expired"
    clock.now = NOW - 1
    assert await reason(auth, issuer.token(exp=NOW + 1000, nbf=NOW + 30)) == "not_yet_valid"


async def test_what_is_remembered_is_bounded(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest goes; only digests are kept as keys, and what is refused is not kept."""
    monkeypatch.setattr("bff_core.auth.bearer.MAX_KEPT", 3)
    auth = bearer(issuer)
    tokens = [issuer.token(sub=f"u{i}") for i in range(5)]
    principals = [await ask(auth, token) for token in tokens]
    assert len(auth._verified) == 3
    assert await ask(auth, tokens[4]) is principals[4]
    assert await ask(auth, tokens[0]) is not principals[0]
    assert await reason(auth, issuer.token(exp=1)) == "expired"
    assert len(auth._verified) == 3
    assert all(len(key) == 32 for key in auth._verified._entries)


async def test_no_credentials_and_several(auth: BearerJwt, issuer: Issuer) -> None:
    """Nothing, another scheme, an empty token: none. Two: nobody can say which one counts."""
    for value in ("", "Bearer", "Bearer   ", "Basic dTE6eA==", "Bearerx y"):
        assert await auth.authenticate(scope_of(("authorization", value))) is None
    assert await auth.authenticate(scope_of()) is None
    good = ("authorization", f"Bearer {issuer.token()}")
    with pytest.raises(Refused) as refused:
        await auth.authenticate(scope_of(good, good))
    assert refused.value.reason == "duplicate_credentials"
    assert await auth.authenticate(scope_of(("authorization", f"bEARER  {issuer.token()} "))) is not None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.binary(max_size=200) | st.builds(lambda a, b: b64(a) + b"." + b64(b) + b".AA", st.binary(), st.binary()))
def test_any_bytes_are_a_token_or_a_bad_one(text: bytes) -> None:
    """Nothing else is ever raised."""
    with suppress(BadToken):
        assert read_token(text).claims is not None


@given(JSON, JSON, JSON, JSON, JSON)
def test_any_types_of_claims(iss: Any, aud: Any, exp: Any, nbf: Any, sub: Any) -> None:
    """Claims of any type are right or wrong, never an error; and wrong ones are never right."""
    from bff_core.auth.jwt import Expected

    body = json.dumps({"iss": ISSUER, "aud": aud, "exp": exp, "nbf": nbf, "sub": sub}).encode()
    expected = Expected(ISSUER, frozenset({AUDIENCE}), (), None, 0)
    try:
        token = read_token(b64(b'{"alg":"RS256"}') + b"." + b64(body) + b".AA")
        until = expected.check(token, NOW)
    except BadToken:
        return
    assert aud == AUDIENCE or AUDIENCE in aud
    assert isinstance(sub, str)
    assert until == exp > NOW


async def test_tokens_of_the_library_itself(auth: BearerJwt, issuer: Issuer) -> None:
    """Headers that nobody knows are to be ignored (RFC 7515 section 4), and joserfc reads what we read."""
    token = issuer.by_hand(b'{"alg":"RS256","kid":"k1","pi.atm":"x"}', payload(exp=int(time.time()) + 5.5))
    assert await reason(auth, token) == ""
    assert jwt.decode(issuer.token(), KEYS["k1"]).claims["sub"] == "u1"
