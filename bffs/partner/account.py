"""What partners see of themselves: their usage and their keys."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel

from bff_core import Page, Principal, Problem, booked_limits, section, shape
from shop.clients import partner

from .parts import keys, usage
from .plans import LIMITS

__all__ = ["KeysPage", "UsagePage"]

AWAY = "This cannot be looked up at the moment."


class Day(BaseModel):
    day: date
    requests: int
    refused: int


class UsageView(BaseModel):
    """``days`` are those of UTC on which there was a request; ``refused`` is what was too much (429). ``limits`` are
    those of the plan, null where there is none; ``month`` is what counts against this month's."""

    partner: str
    plan: str | None
    limits: dict[str, Any]
    month: int
    days: list[Day]


class KeyView(BaseModel):
    """A key, without itself; ``hint`` is how it begins."""

    id: str
    hint: str
    name: str
    scopes: list[str]
    plan: str | None
    version: str | None
    state: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    current: bool


class KeyList(BaseModel):
    items: list[KeyView]


class UsagePage(Page):
    """What the partner has asked, day by day, and what it may. The last second may be missing."""

    days: Annotated[int, Query(ge=1, le=366)] = 31

    @section
    async def view(self, days: int, principal: Principal) -> UsageView:
        who = partner(principal)
        try:
            found = await usage.days(who, max(days, 31))
        except Exception as error:
            raise Problem(503, AWAY, headers={"retry-after": "1"}) from error
        today = datetime.now(UTC).date()
        return UsageView(
            partner=who,
            plan=principal.claims.get("plan"),
            limits={name: value for name, value in booked_limits(LIMITS, principal).items() if name != "address"},
            month=sum(each.requests for each in found if (each.day.year, each.day.month) == (today.year, today.month)),
            days=[
                Day(day=each.day, requests=each.requests, refused=each.refused)
                for each in found
                if (today - each.day).days < days
            ],
        )

    @shape
    def answer(self, view: UsageView) -> UsageView:
        return view


class KeysPage(Page):
    """The partner's API keys. None is ever shown again."""

    @section
    async def view(self, principal: Principal) -> KeyList:
        who = partner(principal)
        try:
            records = await keys.store.issued(tenant=who)
        except Exception as error:
            raise Problem(503, AWAY, headers={"retry-after": "1"}) from error
        now = datetime.now(UTC).timestamp()
        return KeyList(
            items=[
                KeyView(
                    **{name: getattr(record, name) for name in ("id", "hint", "name", "plan", "version")},
                    **{name: _at(getattr(record, name)) for name in ("expires_at", "last_used_at")},
                    created_at=datetime.fromtimestamp(record.created_at, UTC),
                    scopes=sorted(record.scopes),
                    state=record.state(now),
                    current=record.id == principal.claims.get("key_id"),
                )
                for record in records
            ]
        )

    @shape
    def answer(self, view: KeyList) -> KeyList:
        return view


def _at(instant: float | None) -> datetime | None:
    return None if instant is None else datetime.fromtimestamp(instant, UTC)
