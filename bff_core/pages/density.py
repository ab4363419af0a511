"""Images as large as the client's screen can show, and no larger."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

from fastapi import Header, Query

from .declare import section

__all__ = ["DensityAware", "density_of", "pick_variant"]

LEAST, MOST = 0.5, 10.0
Variant = TypeVar("Variant")


class DensityAware:
    """For pages with images, beside ``Page``: ``class ProductPage(DensityAware, Page)``. Their shapes may take
    ``density``, the pixels of an image per CSS pixel that the client wants: what ``?dpr=`` says, else the client hint
    ``Sec-CH-DPR`` (asked for with ``Accept-CH``, RFC 8942), else 1; never more than 1 for who sends ``Save-Data: on``.
    Answers vary by both headers."""

    dpr: Annotated[float | None, Query(ge=LEAST, le=MOST, description="Pixels per CSS pixel of the screen.")] = None
    sec_ch_dpr: Annotated[str | None, Header(description="The same, as browsers say it.")] = None
    save_data: Annotated[str | None, Header(description="`on` for the smallest images.")] = None

    @section
    def density(self, dpr: float | None, sec_ch_dpr: str | None, save_data: str | None) -> float:
        return density_of(dpr, sec_ch_dpr, save_data)


def density_of(dpr: float | None, hint: str | None, save_data: str | None) -> float:
    """The density to serve, see ``DensityAware``. A hint that cannot be read is none."""
    wanted = 1.0
    if dpr is not None:
        wanted = dpr
    elif hint is not None:
        try:
            said = float(hint)
        except ValueError:
            said = 1.0
        # Also what is no number is no comparison's.
        wanted = said if LEAST <= said <= MOST else 1.0
    saves = save_data is not None and save_data.partition(";")[0].strip().lower() == "on"
    return min(wanted, 1.0) if saves else wanted


def pick_variant(variants: Sequence[Variant], width: Callable[[Variant], int], pixels: float) -> Variant | None:
    """The narrowest of ``variants`` that is at least so many ``pixels`` wide, else the widest; None of none."""
    enough = [variant for variant in variants if width(variant) >= pixels]
    return min(enough, key=width) if enough else max(variants, key=width, default=None)
