"""Many endpoints of one service: which of them gets the next call."""

from ..targets import Target, parse_targets
from .balancer import Balancer
from .endpoint import Endpoint
from .wire import BalancedWire, MakeWire

__all__ = ["BalancedWire", "Balancer", "Endpoint", "MakeWire", "Target", "parse_targets"]
