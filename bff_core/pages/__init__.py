"""Pages: declared, compiled, run, shaped and served."""

from .declare import Page, optional, required, section, shape
from .last_good import LastGoodValues
from .plan import Plan, PlannedSection
from .route import SECURITY, PageRoute, PageServices

__all__ = [
    "SECURITY",
    "LastGoodValues",
    "Page",
    "PageRoute",
    "PageServices",
    "Plan",
    "PlannedSection",
    "optional",
    "required",
    "section",
    "shape",
]
