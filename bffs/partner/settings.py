"""Settings of the partner gateway."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import NoDecode

from bff_core import AnyOf, BearerJwt, Settings, SettingsError, StoredKeys, StoredPlans, WebhookSettings
from shop.clients import service_urls

from .versions import VERSIONS

__all__ = ["DEMO_KEY", "PartnerSettings"]

DEMO_KEY = "bff_test_AcmeDemoKey0123456789abcdefghi0FEhNq"
DEMO_WEBHOOK_KEY = "ZXZlcnlib2R5IGtub3dzIHRoaXMsIHNvIGZvciBkZW0"
DEMO_SECRET = "everybody knows this, so it is for the demo alone"  # noqa: S105 - and says so


class PartnerSettings(Settings):
    """``database`` has keys, plans, usage, webhooks and exports, and what is counted and remembered, unless
    ``limits_url`` and ``idempotency_url`` say otherwise; ``pepper`` is what keys in it are digested under. Without
    them this is the demo: a SQLite file beside the shop's, and one key, which everybody knows.

    ``webhook_keys`` (base64url of 32 bytes, commas between) seal the secrets of webhooks, the first from now on;
    ``webhook_allow`` are networks that are not public and may get webhooks; ``dispatchers`` deliver in each process
    (0: ``bff dispatch bffs.partner.parts:webhooks`` does).

    With ``issuer``, ``jwks_url`` and ``audience``, access tokens of that issuer (RFC 9068) are let in besides keys;
    their claim ``tenant`` is the partner.
    """

    defaults: ClassVar = {"services": service_urls("catalog", "orders"), "deadline": 10.0, "ops_port": 8103}

    database: Annotated[str, Field(pattern=r"^(sqlite:///|postgresql://)")] | None = None
    pepper: Annotated[SecretStr, Field(min_length=32)] | None = None
    issuer: str | None = None
    jwks_url: str | None = None
    audience: str = "partner"
    webhook_keys: SecretStr | None = None
    webhook_allow: Annotated[tuple[str, ...], NoDecode] = ()
    dispatchers: Annotated[int, Field(ge=0, le=16)] = 1

    @field_validator("webhook_allow", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @model_validator(mode="before")
    @classmethod
    def _one_database(cls, values: dict[str, Any]) -> dict[str, Any]:
        url = values.get("database")
        return values if url is None else {"limits_url": url, "idempotency_url": url, **values}

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.database is None) != (self.pepper is None):
            raise ValueError("keys in a database are digested under a pepper: set both, BFF_DATABASE and BFF_PEPPER")
        if self.database is not None and self.webhook_keys is None:
            raise ValueError("secrets of webhooks in a database are sealed: set BFF_WEBHOOK_KEYS besides BFF_DATABASE")
        if (self.issuer is None) != (self.jwks_url is None):
            raise ValueError("tokens need both, BFF_ISSUER and BFF_JWKS_URL")
        return self

    @property
    def demo(self) -> Path | None:
        """The demo's folder, None when this is no demo."""
        return Path(os.environ.get("SHOP_DATA", ".shop")) if self.database is None else None

    @property
    def store(self) -> str:
        """The URL of the database."""
        return self.database or f"sqlite:///{self.demo}/partner.db"

    def keys(self) -> StoredKeys:
        """The partners' keys."""
        return StoredKeys(self.store, pepper=self.pepper or SecretStr(DEMO_SECRET), uses=VERSIONS.usage)

    def webhooks(self) -> WebhookSettings:
        """Where webhooks are kept and go. Raises ``SettingsError``."""
        keys = DEMO_WEBHOOK_KEY if self.webhook_keys is None else self.webhook_keys.get_secret_value()
        allow = self.webhook_allow or (("127.0.0.0/8",) if self.demo is not None else ())
        values = {"url": self.store, "keys": keys.split(","), "allow": allow}
        try:
            return WebhookSettings.model_validate(values)
        except ValidationError as error:
            lines = [each["msg"] for each in error.errors(include_url=False, include_input=False)]
            raise SettingsError(f"BFF_WEBHOOK_KEYS or BFF_WEBHOOK_ALLOW: {'; '.join(lines)}") from None

    def auth(self, keys: StoredKeys) -> StoredKeys | AnyOf:
        """Who may come in: by one of ``keys``, or a token."""
        if self.issuer is None or self.jwks_url is None:
            return keys
        tokens = BearerJwt(issuer=self.issuer, audience=self.audience, jwks_url=self.jwks_url, typ="at+jwt")
        return AnyOf(keys, StoredPlans(tokens, keys))
