"""What partners do: order, cancel, export."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import Header, Path
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response, StreamingResponse

from bff_core import Page, Principal, Problem, RequestContext, current_context, required, section, shape
from shop.clients import Orders, partner
from shop.models import CartItem, Order, OrderRequest

from .exports import Export
from .parts import exports
from .shapes import PartnerOrder, partner_order

__all__ = ["CancelOrder", "ExportPage", "PlaceOrder", "StartExport", "export_data"]

ExportId = Annotated[str, Path(pattern="^exp_[0-9a-f]{24}$")]


class OrderedLine(BaseModel):
    model_config = ConfigDict(extra="forbid")

    product_id: Annotated[str, Field(min_length=1, max_length=64)]
    quantity: Annotated[int, Field(ge=1, le=99)] = 1


class NewPartnerOrder(BaseModel):
    model_config = ConfigDict(extra="forbid")

    lines: Annotated[list[OrderedLine], Field(min_length=1, max_length=100)]


class PlaceOrder(Page):
    """Order what the body lists."""

    new_order: NewPartnerOrder
    idempotency_key: Annotated[str, Header()] = ""
    order = required(
        Orders.place,
        order=lambda new_order, principal: OrderRequest(
            user_id=f"partner:{partner(principal)}",
            partner_id=partner(principal),
            lines=[CartItem(product_id=line.product_id, quantity=line.quantity) for line in new_order.lines],
        ),
        relay_status=[409, 422],
    )

    @shape
    def placed(self, order: Order) -> PartnerOrder:
        return partner_order(order)


class CancelOrder(Page):
    """Cancel an order that was not shipped yet."""

    idempotency_key: Annotated[str, Header()] = ""
    order = required(Orders.cancel_of_partner, partner_id=partner, relay_status=[409, 422])

    @shape
    def cancelled(self, order: Order) -> PartnerOrder:
        return partner_order(order)


class NewExport(BaseModel):
    """What is to be exported."""

    model_config = ConfigDict(extra="forbid")

    of: Literal["orders"] = "orders"


class ExportView(BaseModel):
    """An export; when it is ``done`` its ``data`` can be fetched for a week, as NDJSON, in the version of the API that
    it was asked for in. What cannot be made within a day is ``failed``."""

    id: str
    of: Literal["orders"]
    state: Literal["pending", "done", "failed"]
    version: str
    rows: int
    created_at: datetime
    ended_at: datetime | None
    data: str | None


def shown(export: Export, of: Literal["orders"] = "orders") -> ExportView:
    """As partners see it."""
    return ExportView(
        id=export.id,
        of=of,
        state=export.state,
        version=export.version,
        rows=export.rows,
        created_at=datetime.fromtimestamp(export.created_at, UTC),
        ended_at=None if export.ended_at is None else datetime.fromtimestamp(export.ended_at, UTC),
        data=f"/exports/{export.id}/data" if export.state == "done" else None,
    )


async def found(principal: Principal, export_id: str) -> Export:
    """One of the partner's; a 404 problem for any other."""
    who = partner(principal)
    try:
        export = await exports.find(who, export_id)
    except Exception as error:
        raise _away() from error
    if export is None:
        raise Problem(404, "There is no such export.")
    return export


class StartExport(Page):
    """Begin an export of all the partner's orders. `Location` says where to look for it."""

    new_export: NewExport

    @section
    async def view(self, new_export: NewExport, principal: Principal, context: RequestContext) -> ExportView:
        who = partner(principal)
        try:
            export = await exports.add(who, context.version or "")
        except Exception as error:
            raise _away() from error
        if export is None:
            raise Problem(409, "There are five exports under way; wait for one of them.")
        context.reply_headers = (*context.reply_headers, (b"location", f"/exports/{export.id}".encode()))
        return shown(export, new_export.of)

    @shape
    def answer(self, view: ExportView) -> ExportView:
        return view


class ExportPage(Page):
    """How far an export is."""

    @section
    async def view(self, export_id: ExportId, principal: Principal) -> ExportView:
        return shown(await found(principal, export_id))

    @shape
    def answer(self, view: ExportView) -> ExportView:
        return view


async def export_data(export_id: ExportId) -> Response:
    """The rows of an export, one JSON document a line."""
    export = await found(current_context().authenticated(), export_id)
    if export.state == "failed":
        raise Problem(409, "The export could not be made; ask for a new one.")
    if export.state != "done":
        raise Problem(409, "The export is not done yet.", headers={"retry-after": "1"})
    headers = {"content-disposition": f'attachment; filename="{export.id}.ndjson"', "cache-control": "no-store"}
    return StreamingResponse(exports.lines(export), headers=headers, media_type="application/x-ndjson")


def _away() -> Problem:
    return Problem(503, "Exports cannot be looked up at the moment.", headers={"retry-after": "1"})
