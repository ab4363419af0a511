"""Pages: declared, compiled, run, shaped and served."""

from .body import ClientDisconnected
from .declare import Page, optional, required, section, shape
from .last_good import LastGoodValues
from .plan import Plan, PlannedSection
from .route import SECURITY, PageEndpoint, PageRoute, PageServices
from .table import PageTable

__all__ = [
    "SECURITY",
    "ClientDisconnected",
    "LastGoodValues",
    "Page",
    "PageEndpoint",
    "PageRoute",
    "PageServices",
    "PageTable",
    "Plan",
    "PlannedSection",
    "optional",
    "required",
    "section",
    "shape",
]
