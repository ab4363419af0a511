"""Backends-for-Frontends: declared pages over typed, resilient service clients, one gateway per client."""

from .app import Bff, authenticated, create_bff
from .auth import ApiKey, ApiKeys, Authenticator, BearerJwt
from .clients import Operation, ServiceClient, delete, get, patch, post, put
from .context import Principal, RequestContext, current_context
from .errors import (
    BadResponse,
    BffError,
    BulkheadFull,
    CallTimeout,
    CircuitOpen,
    ConnectFailed,
    ConnectionLost,
    DeclarationError,
    Problem,
    ServiceError,
    SettingsError,
    UnexpectedStatus,
)
from .pages import Page, optional, required, section, shape
from .policy import AdaptivePolicy, BreakerPolicy, HealthPolicy, HedgePolicy, OutlierPolicy, Policy, RetryPolicy
from .settings import ServiceSettings, Settings
from .sync import Collection, Sync, mutation
from .telemetry import Event

__all__ = [
    "AdaptivePolicy",
    "ApiKey",
    "ApiKeys",
    "Authenticator",
    "BadResponse",
    "BearerJwt",
    "Bff",
    "BffError",
    "BreakerPolicy",
    "BulkheadFull",
    "CallTimeout",
    "CircuitOpen",
    "Collection",
    "ConnectFailed",
    "ConnectionLost",
    "DeclarationError",
    "Event",
    "HealthPolicy",
    "HedgePolicy",
    "Operation",
    "OutlierPolicy",
    "Page",
    "Policy",
    "Principal",
    "Problem",
    "RequestContext",
    "RetryPolicy",
    "ServiceClient",
    "ServiceError",
    "ServiceSettings",
    "Settings",
    "SettingsError",
    "Sync",
    "UnexpectedStatus",
    "authenticated",
    "create_bff",
    "current_context",
    "delete",
    "get",
    "mutation",
    "optional",
    "patch",
    "post",
    "put",
    "required",
    "section",
    "shape",
]
