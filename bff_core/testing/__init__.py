"""What the tests of a gateway need: services to play, faults to survive, and a client to ask with."""

from .client import bff_client
from .hostile import HostileServer, refused_port
from .services import FakeServices
from .versions import prove_versions

__all__ = ["FakeServices", "HostileServer", "bff_client", "prove_versions", "refused_port"]
