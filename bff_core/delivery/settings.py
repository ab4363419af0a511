"""What a gateway can be told about the delivery of its answers."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .coding import missing

__all__ = ["Delivery"]


class Delivery(BaseModel):
    """``etag``: GET pages have an entity tag, and ``If-None-Match`` is answered 304. ``codings``: the content codings
    to offer, the dearest first; none is off. Answers of less than ``minimum`` bytes are never compressed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    etag: bool = True
    codings: tuple[Literal["zstd", "br", "gzip"], ...] = ()
    minimum: Annotated[int, Field(ge=1)] = 512

    @model_validator(mode="after")
    def _check_installed(self) -> Self:
        if absent := [name for name in self.codings if missing(name)]:
            raise ValueError(f"codings: {absent[0]} needs a library; pip install 'bff-core[compression]'")
        return self
