"""Settings of the partner gateway."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, SecretStr

from bff_core import ApiKey, ApiKeys, Settings, SettingsError, StoredKeys
from shop.clients import service_urls

from .versions import VERSIONS

__all__ = ["PartnerSettings"]

DEMO_KEY_SHA256 = "c943f26b11b4965a19ee7754aa955603a8bd8e5b68481d08ace4bf1b81ad863e"


class PartnerSettings(Settings):
    """``keys`` are the API keys that are let in. By default that is the demo's one key, of partner ``acme``; set
    ``BFF_KEYS`` (a JSON list) for any other use, or ``BFF_KEYS_URL`` and ``BFF_PEPPER``: then they are in that
    database, and ``bff partners`` issues them."""

    defaults: ClassVar = {"services": service_urls("catalog", "orders"), "deadline": 10.0, "ops_port": 8103}

    keys: tuple[ApiKey, ...] = (ApiKey(sha256=DEMO_KEY_SHA256, partner="acme"),)
    keys_url: Annotated[str, Field(pattern=r"^(sqlite:///|postgresql://)")] | None = None
    pepper: SecretStr | None = None

    def auth(self) -> ApiKeys | StoredKeys:
        """Who may come in. Raises ``SettingsError``."""
        if self.keys_url is None:
            return ApiKeys(self.keys)
        if self.pepper is None:
            raise SettingsError("keys in a database are digested under a pepper: set BFF_PEPPER besides BFF_KEYS_URL")
        return StoredKeys(self.keys_url, pepper=self.pepper, uses=VERSIONS.usage)
