"""Signatures: with independent libraries in both directions, and with the vectors of RFC 8032."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
import standardwebhooks
import svix.webhooks
from hypothesis import given
from hypothesis import strategies as st

from bff_core.webhooks.signing import InvalidSignature, Signer, Verifier, new_private_key, new_secret, public_key

BODY = '{"type":"order.updated","data":{"name":"Käse ✓"}}'.encode()
NOW = int(time.time())


@pytest.fixture(scope="module", autouse=True)
def _now() -> None:
    """Other tests may take longer than a signature is good for."""
    global NOW  # noqa: PLW0603 - what the tests below read
    NOW = int(time.time())


def headers(event_id: str, timestamp: int, signature: str) -> dict[str, str]:
    return {"webhook-id": event_id, "webhook-timestamp": str(timestamp), "Webhook-Signature": signature}


def test_the_example_of_the_specification() -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'
    made = Signer([secret]).sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    verifier = Verifier([secret], clock=lambda: 1614265330)
    assert verifier.verify(body, headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, made)).startswith("msg_p5")


@pytest.mark.parametrize("library", [standardwebhooks.Webhook, svix.webhooks.Webhook])
def test_independent_libraries_in_python(library) -> None:
    """What we sign they verify, rotation included; what they sign we verify."""
    old, new = new_secret(), new_secret()
    signed = headers("msg_1", NOW, Signer([new, old]).sign("msg_1", NOW, BODY))
    for secret in (old, new):
        library(secret).verify(BODY, signed)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        library(new_secret()).verify(BODY, signed)
    theirs = library(old).sign("msg_1", datetime.fromtimestamp(NOW, UTC), BODY.decode())
    assert Verifier([new, old]).verify(BODY, headers("msg_1", NOW, theirs)) == "msg_1"
    with pytest.raises(InvalidSignature):
        Verifier([new]).verify(BODY, headers("msg_1", NOW, theirs))


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
def test_the_independent_library_in_node(node_modules: Path) -> None:
    secret = new_secret()
    signed = headers("msg_1", NOW, Signer([new_secret(), secret]).sign("msg_1", NOW, BODY))
    script = """
        const { Webhook } = require("standardwebhooks");
        const { secret, body, headers, now } = JSON.parse(require("fs").readFileSync(0, "utf8"));
        const webhook = new Webhook(secret);
        webhook.verify(body, headers);
        try { webhook.verify(body + " ", headers); process.exit(1); } catch { /* as it should */ }
        console.log(webhook.sign("msg_2", new Date(now * 1000), body));
    """
    given_ = {"secret": secret, "body": BODY.decode(), "headers": signed, "now": NOW}
    ran = subprocess.run(
        ["node", "-e", script], input=json.dumps(given_), capture_output=True, text=True, check=True, cwd=node_modules
    )
    assert Verifier([secret]).verify(BODY, headers("msg_2", NOW, ran.stdout.strip())) == "msg_2"


# RFC 8032, section 7.1: secret key, public key, message, signature
VECTORS = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
            "d25bf5f0595bbe24655141438e7a100b"
        ),
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
            "387b2eaeb4302aeeb00d291612bb0c00"
        ),
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        (
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
            "4a7c15e9716ed28dc027beceea1ec40a"
        ),
    ),
]


@pytest.mark.parametrize(("seed", "public", "message", "signature"), VECTORS)
def test_the_vectors_of_rfc_8032(seed: str, public: str, message: str, signature: str) -> None:
    """The bytes that are signed are given whole, past the framing of webhooks."""
    from bff_core.webhooks.signing import _matching, _signing

    private = "whsk_" + base64.b64encode(bytes.fromhex(seed)).decode()
    shown = "whpk_" + base64.b64encode(bytes.fromhex(public)).decode()
    assert public_key(private) == shown
    assert _signing(private)(bytes.fromhex(message)) == "v1a," + base64.b64encode(bytes.fromhex(signature)).decode()
    matches = _matching(shown)
    assert matches(bytes.fromhex(message), "v1a", bytes.fromhex(signature))
    assert not matches(bytes.fromhex(message) + b"x", "v1a", bytes.fromhex(signature))
    assert not matches(bytes.fromhex(message), "v1", bytes.fromhex(signature))


def test_v1a_and_v1_side_by_side() -> None:
    """Each receiver finds the signature that its key can verify."""
    private, secret = new_private_key(), new_secret()
    made = Signer([private, secret]).sign("msg_1", NOW, BODY)
    assert [part.split(",")[0] for part in made.split(" ")] == ["v1a", "v1"]
    for key in (public_key(private), secret):
        Verifier([key]).verify(BODY, headers("msg_1", NOW, made))
    with pytest.raises(InvalidSignature):
        Verifier([public_key(new_private_key())]).verify(BODY, headers("msg_1", NOW, made))


def test_one_version_is_not_taken_for_the_other() -> None:
    secret = new_secret()
    relabelled = Signer([secret]).sign("msg_1", NOW, BODY).replace("v1,", "v1a,")
    with pytest.raises(InvalidSignature):
        Verifier([secret]).verify(BODY, headers("msg_1", NOW, relabelled))


@pytest.mark.parametrize("offset", [-301, 301])
def test_what_is_not_of_now(offset: int) -> None:
    secret = new_secret()
    signed = headers("msg_1", NOW, Signer([secret]).sign("msg_1", NOW, BODY))
    Verifier([secret], clock=lambda: NOW + 299).verify(BODY, signed)
    with pytest.raises(InvalidSignature, match="too old"):
        Verifier([secret], clock=lambda: NOW + offset).verify(BODY, signed)
    Verifier([secret], clock=lambda: NOW + offset, tolerance=400).verify(BODY, signed)


@pytest.mark.parametrize(
    "changed",
    [
        {"webhook-id": "msg_2"},
        {"webhook-timestamp": str(NOW - 1)},
        {"webhook-timestamp": f"{NOW}.0"},
        {"webhook-timestamp": "nan"},
        {"webhook-timestamp": "٣"},
        {"Webhook-Signature": ""},
        {"Webhook-Signature": "v1,"},
        {"Webhook-Signature": "v1,é"},
        {"Webhook-Signature": "v1a,AAAA"},
        {"Webhook-Signature": "v1 " * 30},
    ],
)
def test_what_was_changed(changed: dict[str, str]) -> None:
    secret = new_secret()
    signed = headers("msg_1", NOW, Signer([secret]).sign("msg_1", NOW, BODY))
    with pytest.raises(InvalidSignature):
        Verifier([secret]).verify(BODY, signed | changed)


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "Webhook-Signature"])
def test_what_is_missing(missing: str) -> None:
    secret = new_secret()
    signed = headers("msg_1", NOW, Signer([secret]).sign("msg_1", NOW, BODY))
    del signed[missing]
    with pytest.raises(InvalidSignature, match="no header"):
        Verifier([secret]).verify(BODY, signed)


def test_an_id_without_a_dot() -> None:
    """``a.1`` at 2 and ``a`` at 1 with a body ``2.…`` would be signed alike."""
    with pytest.raises(ValueError, match="no dot"):
        Signer([new_secret()]).sign("msg.1", NOW, BODY)


@pytest.mark.parametrize(
    "key",
    ["", "secret", "whsec_", "whsec_AAAA", "whsec_" + "A" * 88, "whsec_*", "whsk_AAAA", "whsk_" + "A" * 86 + "=="],
)
def test_what_is_no_key(key: str) -> None:
    with pytest.raises(ValueError, match=r"key|secret"):
        Signer([key])


def test_no_key_at_all() -> None:
    with pytest.raises(ValueError, match="without a key"):
        Signer([])
    with pytest.raises(ValueError, match="without a key"):
        Verifier([])


@given(st.binary(max_size=200), st.integers(0, 10**10), st.sampled_from(["a", "msg_1", "x-y_z"]))
def test_what_is_signed_is_verified(body: bytes, timestamp: int, event_id: str) -> None:
    private, secret = new_private_key(), new_secret()
    signed = headers(event_id, timestamp, Signer([private, secret]).sign(event_id, timestamp, body))
    for key in (public_key(private), secret):
        assert Verifier([key], clock=lambda: timestamp).verify(body, signed) == event_id
        with pytest.raises(InvalidSignature):
            Verifier([key], clock=lambda: timestamp).verify(body + b"x", signed)
