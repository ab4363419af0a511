"""Pages: declared, compiled, run, shaped and served."""

from .declare import Page, optional, required, section, shape
from .plan import Plan, PlannedSection
from .route import SECURITY, PageRoute, PageServices

__all__ = [
    "SECURITY",
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
