"""Pages: declared, compiled, run, shaped and served."""

from .declare import Page, optional, required, section, shape
from .plan import Plan, PlannedSection
from .route import PageRoute

__all__ = ["Page", "PageRoute", "Plan", "PlannedSection", "optional", "required", "section", "shape"]
