"""Settings of the partner gateway."""

from __future__ import annotations

from typing import ClassVar

from bff_core import ApiKey, Settings
from shop.clients import service_urls

__all__ = ["PartnerSettings"]

DEMO_KEY_SHA256 = "c943f26b11b4965a19ee7754aa955603a8bd8e5b68481d08ace4bf1b81ad863e"


class PartnerSettings(Settings):
    """``keys`` are the API keys that are let in. By default that is the demo's one key, of partner ``acme``; set
    ``BFF_KEYS`` (a JSON list) for any other use."""

    defaults: ClassVar = {"services": service_urls("catalog", "orders"), "deadline": 10.0, "ops_port": 8103}

    keys: tuple[ApiKey, ...] = (ApiKey(sha256=DEMO_KEY_SHA256, partner="acme"),)
