"""What the app keeps a copy of, and what it may do while it is offline."""

from __future__ import annotations

from bff_core import Collection, Principal, mutation
from shop.clients import Orders, subject
from shop.models import NewOrder, OrderRequest

from .shapes import MobileCartLine, MobileOrderRow, cart_line, order_row

__all__ = ["COLLECTIONS", "MUTATIONS"]


def order_of(principal: Principal, new: NewOrder) -> OrderRequest:
    """The order of who is asking, whatever the app says."""
    return OrderRequest(user_id=principal.subject, lines=new.lines)


orders = Collection(
    "orders", Orders.of_user, MobileOrderRow, project=order_row, lookup=Orders.order, user_id=subject, limit=100
)
# A cart is emptied by ordering it, which is nothing to wonder at.
cart = Collection(
    "cart",
    Orders.cart,
    MobileCartLine,
    project=cart_line,
    key="product_id",
    items="lines",
    confirm_after=0.0,
    user_id=subject,
)

COLLECTIONS = [orders, cart]
MUTATIONS = [
    mutation("order.place", Orders.place, touches=[orders, cart], order=order_of),
    mutation("order.cancel", Orders.cancel, touches=[orders], item="order_id", user_id=subject),
    mutation("cart.add", Orders.add_to_cart, touches=[cart], user_id=subject),
    mutation("cart.remove", Orders.remove_from_cart, touches=[cart], item="product_id", user_id=subject),
]
