"""Server-side sessions of browsers: an opaque cookie there, sealed tokens here."""

from .cookie import Cookies, new_id
from .csrf import FORM, SAFE, cross_site_form, cross_site_read, forged
from .refresh import Grant, GrantEnded, Refresher
from .seal import Sealer
from .session import Session, Tokens
from .vault import Held, Vault, index_names

__all__ = [
    "FORM",
    "SAFE",
    "Cookies",
    "Grant",
    "GrantEnded",
    "Held",
    "Refresher",
    "Sealer",
    "Session",
    "Tokens",
    "Vault",
    "cross_site_form",
    "cross_site_read",
    "forged",
    "index_names",
    "new_id",
]
