"""Settings of the mobile gateway."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import SecretStr

from bff_core import Settings
from shop.clients import service_urls

__all__ = ["MobileSettings"]


class MobileSettings(Settings):
    """``issuer`` and ``audience`` say which access tokens are trusted. ``sync_store`` keeps what apps have and did;
    ``sync_keys`` (base64url of 32 bytes, commas between) seal its tokens, the first one from now on.
    ``app_file`` has the version gate, configuration and flags of apps; ``push_store`` keeps their push tokens."""

    defaults: ClassVar = {
        "services": service_urls("identity", "catalog", "recommendations", "users", "orders", "notifications"),
        "delivery": {"codings": ("zstd", "br", "gzip")},
        "ops_port": 8101,
    }

    issuer: str = "https://identity.shop.example"
    audience: str = "shop"
    sync_store: str = "memory://"
    sync_keys: SecretStr = SecretStr("")
    app_file: str = str(Path(__file__).with_name("apps.toml"))
    push_store: str = "memory://"
