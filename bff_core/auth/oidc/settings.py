"""What a gateway is told about its provider and its sessions."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr

__all__ = ["OidcSettings"]

SECRETS = ("client_secret", "client_key", "dpop_key")


class OidcSettings(BaseModel):
    """The arguments of ``OidcSessions``. ``session_store`` is a store's URL; ``session_keys`` are those to seal with,
    with commas between, the newest first; ``scopes`` are words with a space between. Times are seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    issuer: Annotated[str, Field(pattern=r"^https?://[^\s@#?]+$")]
    client_id: Annotated[str, Field(min_length=1)]
    client_secret: SecretStr | None = None
    client_key: SecretStr | None = None
    base_url: str
    session_store: str = "memory://"
    session_keys: SecretStr | None = None
    scopes: str = "openid profile offline_access"
    parameters: dict[str, str] = {}
    idle: Annotated[float, Field(ge=60)] = 1800
    lifetime: Annotated[float, Field(ge=60)] = 8 * 3600
    after_logout: str = "/"
    id_token_hint: bool = False
    dpop_key: SecretStr | None = None
    insecure_cookies: bool = False

    def arguments(self) -> dict[str, Any]:
        """For ``OidcSessions``."""
        told = self.model_dump(exclude={*SECRETS, "session_store", "session_keys", "scopes"})
        secrets: dict[str, SecretStr | None] = {name: getattr(self, name) for name in SECRETS}
        keys = self.session_keys.get_secret_value().split(",") if self.session_keys is not None else []
        return {
            **told,
            **{name: value.get_secret_value() for name, value in secrets.items() if value is not None},
            "store": self.session_store,
            "keys": keys,
            "scopes": self.scopes.split(),
        }
