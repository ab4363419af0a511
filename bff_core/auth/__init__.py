"""Authentication."""

from .api_key import ApiKey, ApiKeys
from .authenticator import Authenticator
from .bearer import BearerJwt

__all__ = ["ApiKey", "ApiKeys", "Authenticator", "BearerJwt"]
