"""Pages: declared, compiled, run, shaped and served."""

from .declare import Page, optional, required, section, shape
from .document import describe_problems, document_route
from .endpoint import PageEndpoint, PageServices
from .last_good import LastGoodValues
from .plan import Plan, PlannedSection
from .route import SECURITY, PageRoute
from .table import PageTable

__all__ = [
    "SECURITY",
    "LastGoodValues",
    "Page",
    "PageEndpoint",
    "PageRoute",
    "PageServices",
    "PageTable",
    "Plan",
    "PlannedSection",
    "describe_problems",
    "document_route",
    "optional",
    "required",
    "section",
    "shape",
]
