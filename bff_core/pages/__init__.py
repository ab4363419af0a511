"""Pages: declared, compiled, run, shaped and served."""

from .declare import Page, optional, required, section, shape
from .endpoint import PageEndpoint, PageServices
from .last_good import LastGoodValues
from .messages import MessageDelivery
from .plan import Plan, PlannedSection
from .route import SECURITY, PageOptions, PageRoute
from .stream import Delivery, PageStream
from .table import PageTable

__all__ = [
    "SECURITY",
    "Delivery",
    "LastGoodValues",
    "MessageDelivery",
    "Page",
    "PageEndpoint",
    "PageOptions",
    "PageRoute",
    "PageServices",
    "PageStream",
    "PageTable",
    "Plan",
    "PlannedSection",
    "optional",
    "required",
    "section",
    "shape",
]
