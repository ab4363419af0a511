"""Webhooks: events that are told to others, at least once, signed, and to nobody within."""

from .connector import Outcome
from .events import EventType, WebhookEvent, standard_body
from .service import Webhooks
from .settings import WebhookSettings
from .signing import InvalidSignature, Signer, Verifier, new_private_key, new_secret, public_key

__all__ = [
    "EventType",
    "InvalidSignature",
    "Outcome",
    "Signer",
    "Verifier",
    "WebhookEvent",
    "WebhookSettings",
    "Webhooks",
    "new_private_key",
    "new_secret",
    "public_key",
    "standard_body",
]
