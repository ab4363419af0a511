"""The public surface, locked; and conventions that hold for all code."""

from __future__ import annotations

import ast
from pathlib import Path

import bff_core
import bff_core.testing

ROOT = Path(__file__).parents[2]

PUBLIC = """
    AdaptivePolicy Added AnyOf ApiKey ApiKeys AppLife AppState Authenticator Authorizer AuthorizerRequest
    BadResponse BearerJwt Bff BffError BreakerPolicy BulkheadFull CallTimeout CircuitOpen Collection
    ConcurrencyLimit ConnectFailed ConnectionLost Converted Cors DeclarationError DensityAware ErrorsChanged Event
    EventType ExchangeSettings ForwardAuth Hardening HealthPolicy HedgePolicy KeyRecord Moved OidcSessions
    OidcSettings Operation OutlierPolicy Page PageAdded Policy Principal Problem PushProvider PushToken PushTokens
    Quota RateLimit Refused Removed Renamed Replaced RequestContext RetryPolicy ServiceClient ServiceError
    ServiceSettings Settings SettingsError StoredKeys StoredPlans Sync TokenGone UnexpectedStatus Usage UsageDay
    ValueAdded Version Versions WebhookEvent WebhookSettings Webhooks app_state authenticated background_context
    booked_limits create_bff current_context delete get migrate mutation new_api_key optional patch pick_variant
    post principal_from_headers principal_from_json put required section shape step_up
"""


def test_public_names() -> None:
    """A name is public when it is here; adding or taking one is a decision."""
    assert sorted(bff_core.__all__) == sorted(PUBLIC.split())
    assert all(hasattr(bff_core, name) for name in PUBLIC.split())
    testing = ["FakeServices", "HostileServer", "bff_client", "prove_versions", "refused_port"]
    assert sorted(bff_core.testing.__all__) == testing


def test_gateways_use_the_public_surface_only() -> None:
    """A gateway imports from bff_core itself, from shop.clients and shop.models, and from its own package."""
    for file in sorted((ROOT / "bffs").glob("*/*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
                package = node.module.partition(".")[0]
                if package in ("bff_core", "shop", "bffs"):
                    assert node.module in ("bff_core", "shop.clients", "shop.models"), f"{file.name}: {node.module}"


def test_every_module_says_what_it_is() -> None:
    """A docstring on each module, and no file that has grown two nouns."""
    for file in [path for folder in ("bff_core", "bffs", "shop") for path in (ROOT / folder).rglob("*.py")]:
        text = file.read_text()
        assert ast.get_docstring(ast.parse(text)), file
        assert len(text.splitlines()) <= 400, file
