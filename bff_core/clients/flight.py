"""Single flight: identical safe calls under way share one upstream request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from ..errors import CallTimeout, ServiceError
from ..resilience import Call
from ..wire import WireResponse

log = structlog.get_logger("bff.clients")

__all__ = ["Flight", "Flights", "Key", "Waiter"]

Key = tuple[str, bytes, bytes]
"""Target, the operation's own headers with the credentials, and for whom (``Principal.whose``): all that could change
the answer."""

HURRY = 0.9
"""Whoever has less time than this share of somebody else's is in more of a hurry; two of a kind differ by what went by
before they asked."""

Waiter = Callable[[WireResponse | None, ServiceError | None], None]
Start = Callable[[Callable[[Call], None]], Call]


class Flights:
    """The calls of one service that are under way, by key; ``joined`` counts those that needed none of their own."""

    __slots__ = ("_flights", "joined")

    def __init__(self) -> None:
        self.joined = 0
        self._flights: dict[Key, Flight] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def part(self, target: str) -> None:
        """Let nobody join the flights to ``target`` any more; who is aboard stays."""
        for key in [key for key in self._flights if key[0] == target]:
            del self._flights[key]

    def __contains__(self, key: Key) -> bool:
        return key in self._flights

    def join(self, key: Key, deadline: float, timeout: float, waiter: Waiter, start: Start) -> Seat:
        """A seat in the flight of ``key``, which ``start(finished)`` begins if there is none to join.

        A flight whose deadline is much nearer than one's own is not joined, nor one that was begun with less time than
        an attempt may take (``timeout``, in seconds): its timeout would come too early.
        """
        flight = self._flights.get(key)
        if flight is not None and not flight.lasts(deadline, timeout):
            flight = None
        if flight is None:
            flight = Flight(self._flights, key, deadline)
            seat = flight.board(waiter, deadline)
            self._flights[key] = flight
            try:
                flight.call = start(flight.landed)
            except BaseException:
                flight.close()
                raise
            return seat
        self.joined += 1
        return flight.board(waiter, deadline)


class Flight:
    """One call and who waits for it. It is cancelled when the last of them leaves."""

    __slots__ = ("_allowed", "_deadline", "_flights", "_key", "_seats", "call")

    def __init__(self, flights: dict[Key, Flight], key: Key, deadline: float) -> None:
        self._flights = flights
        self._key = key
        self._deadline = deadline
        self._allowed = deadline - time.monotonic()
        self._seats: list[Seat] = []
        self.call: Call | None = None

    def lasts(self, deadline: float, timeout: float) -> bool:
        """Whether at least half of the time until ``deadline`` is the flight's as well, and whether it was not begun in
        more of a hurry than an attempt, or who asks: their own hurry is nobody else's."""
        now = time.monotonic()
        left = deadline - now
        return self._deadline - now >= left / 2 and self._allowed >= HURRY * min(left, timeout)

    def board(self, waiter: Waiter, deadline: float) -> Seat:
        """Wait along, until ``deadline`` at the most."""
        seat = Seat(self, waiter)
        if self._seats and deadline < self._deadline:
            seat.expire_in(deadline - time.monotonic())
        self._seats.append(seat)
        return seat

    def leave(self, seat: Seat) -> None:
        """Wait no longer."""
        if seat in self._seats:
            self._seats.remove(seat)
            if not self._seats:
                self.close()
                if self.call is not None:
                    self.call.cancel()

    def landed(self, call: Call) -> None:
        """The call has ended; everybody is told."""
        self.close()
        seats, self._seats = self._seats, []
        for seat in seats:
            seat.tell(call.response, call.error)

    def close(self) -> None:
        """Let nobody join any more."""
        if self._flights.get(self._key) is self:
            del self._flights[self._key]


class Seat:
    """One who waits. ``leave`` gives up waiting."""

    __slots__ = ("_flight", "_timer", "_waiter")

    def __init__(self, flight: Flight, waiter: Waiter) -> None:
        self._flight = flight
        self._waiter: Waiter | None = waiter
        self._timer: asyncio.TimerHandle | None = None

    def expire_in(self, seconds: float) -> None:
        """Be told of a timeout after ``seconds``, though the flight goes on for others."""
        self._timer = asyncio.get_running_loop().call_later(max(0.0, seconds), self._expire)

    def leave(self) -> None:
        """Wait no longer; the waiter is not told."""
        self._waiter = None
        if self._timer is not None:
            self._timer.cancel()
        self._flight.leave(self)

    def tell(self, response: WireResponse | None, error: ServiceError | None) -> None:
        """Hand over the outcome."""
        waiter, self._waiter = self._waiter, None
        if self._timer is not None:
            self._timer.cancel()
        if waiter is not None:
            try:
                waiter(response, error)
            except Exception:
                # One who cannot take the answer must not keep it from the others.
                log.exception("flight.error")

    def _expire(self) -> None:
        waiter, self._waiter = self._waiter, None
        self._flight.leave(self)
        if waiter is not None:
            waiter(None, CallTimeout("the answer that somebody else waits for as well did not come in time"))
