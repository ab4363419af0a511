"""OpenID Connect: the gateway signs browsers in, as a confidential client of a provider."""

from .oidc_sessions import OidcSessions
from .settings import OidcSettings
from .step_up import step_up

__all__ = ["OidcSessions", "OidcSettings", "step_up"]
