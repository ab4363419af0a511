"""Pages: declared, compiled, run, shaped and served."""

from .batch import BatchRoute
from .declare import Page, optional, required, section, shape
from .endpoint import PageEndpoint, PageServices
from .last_good import LastGoodValues
from .plan import Plan, PlannedSection
from .route import SECURITY, PageRoute, page_routes
from .table import PageTable

__all__ = [
    "SECURITY",
    "BatchRoute",
    "LastGoodValues",
    "Page",
    "PageEndpoint",
    "PageRoute",
    "PageServices",
    "PageTable",
    "Plan",
    "PlannedSection",
    "optional",
    "page_routes",
    "required",
    "section",
    "shape",
]
