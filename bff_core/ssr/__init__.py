"""Pages as HTML, streamed: what is required at once, what is deferred when it comes."""

from .delivery import HtmlStreaming
from .templates import Templates

__all__ = ["HtmlStreaming", "Templates"]
