"""Authentication and authorization: who is it, may they, and who do the services think it is."""

from .any_of import AnyOf, members_of, schemes_of, stored_keys
from .api_key import ApiKey, ApiKeys
from .authenticator import Authenticator
from .authorizer import Authorizer, AuthorizerRequest
from .bearer import BearerJwt
from .dpop import ProofKey, ProvedWire
from .exchange import ExchangedToken, ExchangeFailed
from .forward import ForwardAuth, principal_from_headers, principal_from_json
from .gate import Allow, Gate
from .key_form import new_api_key
from .keys import KeyRecord, StoredKeys, StoredPlans, TenantPlan
from .oidc import OidcSessions, OidcSettings, step_up
from .relay import RelayedToken, SignedPrincipal

__all__ = [
    "Allow",
    "AnyOf",
    "ApiKey",
    "ApiKeys",
    "Authenticator",
    "Authorizer",
    "AuthorizerRequest",
    "BearerJwt",
    "ExchangeFailed",
    "ExchangedToken",
    "ForwardAuth",
    "Gate",
    "KeyRecord",
    "OidcSessions",
    "OidcSettings",
    "ProofKey",
    "ProvedWire",
    "RelayedToken",
    "SignedPrincipal",
    "StoredKeys",
    "StoredPlans",
    "TenantPlan",
    "members_of",
    "new_api_key",
    "principal_from_headers",
    "principal_from_json",
    "schemes_of",
    "step_up",
    "stored_keys",
]
