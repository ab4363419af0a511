"""Pages: declared, compiled, run, shaped and served."""

from .batch import BatchRoute
from .declare import Page, optional, required, section, shape
from .density import DensityAware, pick_variant
from .endpoint import PageEndpoint
from .last_good import LastGoodValues
from .messages import MessageStreaming
from .plan import Plan, PlannedSection
from .route import SECURITY, PageOptions, PageRoute, page_routes
from .serving import PageServices, Serving
from .stream import PageStream, Streaming

__all__ = [
    "SECURITY",
    "BatchRoute",
    "DensityAware",
    "LastGoodValues",
    "MessageStreaming",
    "Page",
    "PageEndpoint",
    "PageOptions",
    "PageRoute",
    "PageServices",
    "PageStream",
    "Plan",
    "PlannedSection",
    "Serving",
    "Streaming",
    "optional",
    "page_routes",
    "pick_variant",
    "required",
    "section",
    "shape",
]
