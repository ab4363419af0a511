"""Pages as HTML, streamed: what is required at once, what is deferred when it comes."""

from .delivery import HtmlDelivery
from .templates import Templates

__all__ = ["HtmlDelivery", "Templates"]
