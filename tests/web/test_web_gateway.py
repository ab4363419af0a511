"""The web gateway: browser sessions when a provider is configured, and as ever when none is."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from bff_core import Principal
from bff_core.ssr import Templates
from tests.packaging.environments import ROOT

ASK = """
import json
from bffs.web.app import app
print(json.dumps([app.sessions is not None, sorted(r.path for r in app.routes if r.path.startswith("/auth/")),
                  sorted(app.openapi()["components"]["securitySchemes"])]))
"""
OIDC = {
    "BFF_OIDC__ISSUER": "https://id.example",
    "BFF_OIDC__CLIENT_ID": "web",
    "BFF_OIDC__CLIENT_SECRET": "secret",
    "BFF_OIDC__BASE_URL": "https://shop.example",
}


def ask(**variables: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BFF_")}
    env = {**inherited, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run([sys.executable, "-c", ASK], env=env, capture_output=True, text=True, check=False)


def test_off_by_default() -> None:
    assert json.loads(ask().stdout) == [False, [], ["gateway"]]


def test_on_with_a_provider() -> None:
    names = ("backchannel-logout", "callback", "login", "logout", "user")
    assert json.loads(ask(**OIDC).stdout) == [True, [f"/auth/{name}" for name in names], ["gateway", "gateway-2"]]


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"BFF_OIDC__SESSION_STORE": "sqlite:///sessions.db"}, "BFF_OIDC__SESSION_KEYS"),
        ({"BFF_OIDC__SESSION_KEYS": "short"}, "32 characters"),
        ({"BFF_OIDC__BASE_URL": "http://shop.example"}, "over TLS"),
        ({"BFF_OIDC__NO_SUCH": "x"}, "oidc.no_such"),
        ({"BFF_OIDC__IDLE": "1"}, "oidc.idle"),
    ],
)
def test_mistakes_are_found_at_start_up(variables: dict[str, str], said: str) -> None:
    done = ask(**{**OIDC, **variables})
    assert done.returncode != 0
    assert said in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(("claims", "shown"), [({"name": "Ann"}, "Ann"), ({"name": ""}, "u1"), ({}, "u1")])
def test_who_has_no_name_is_called_by_the_subject(claims: dict[str, str], shown: str) -> None:
    """An ID token need not have one (OpenID Connect Core 1.0, section 2)."""
    templates = Templates(ROOT / "bffs/web/templates")
    templates.expect("https://id.example")
    principal = Principal("u1", claims=claims)
    problem = {"status": 404, "title": "Not Found", "detail": ""}
    html = templates.environment.get_template("error.html").render(
        principal=principal, here="/", problem=problem, sign_in=None, request_id="r"
    )
    assert f'<span class="who">{shown}</span>' in html
