"""What the tests of a gateway need: services to play, and a client to ask with."""

from .client import bff_client
from .services import FakeServices

__all__ = ["FakeServices", "bff_client"]
