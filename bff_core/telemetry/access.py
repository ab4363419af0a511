"""The access log: a JSON line for each request, put together by hand and written many at a time."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii as _quote

from .redact import redact_path

__all__ = ["AccessLog"]

FLUSH_AFTER = 0.1
MOST_LINES = 256


class AccessLog:
    """Lines of the shape of the other logs (event ``request``, logger level ``info``), up to a tenth of a second late.

    ``enabled`` is false when the log level leaves them out.
    """

    __slots__ = ("_lines", "_prefix", "_second", "_tail", "_timer", "enabled")

    def __init__(self, gateway: str, *, enabled: bool) -> None:
        self.enabled = enabled
        self._tail = f', "event": "request", "gateway": {json.dumps(gateway)}, "level": "info"'
        self._lines: list[str] = []
        self._timer: asyncio.TimerHandle | None = None
        self._second = 0
        self._prefix = ""

    def write(
        self,
        method: str,
        path: str,
        route: str | None,
        status: int,
        seconds: float,
        request_id: str,
        trace_id: str,
        calls: Mapping[str, int],
        degraded: Mapping[str, str],
        failed: Mapping[str, Mapping[str, str | int]] | None = None,
    ) -> None:
        """Log one request; ``calls`` counts the attempts by service, ``failed`` says of each section that failed
        why."""
        shown = _quote(redact_path(path))
        line = (
            f'{{"method": {_quote(method)}, "path": {shown}, "route": {_quote(route) if route else "null"}, '
            f'"status": {status}, "ms": {seconds * 1000:.2f}, "request_id": "{request_id}", "trace_id": "{trace_id}"'
        )
        if calls:
            line += f', "calls": {{{", ".join([f"{_quote(name)}: {count}" for name, count in calls.items()])}}}'
        if degraded:
            line += f', "degraded": {json.dumps(degraded)}'
        if failed:
            line += f', "failed": {json.dumps(failed)}'
        self._lines.append(f'{line}{self._tail}, "timestamp": "{self._now()}"}}\n')
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_AFTER, self.flush)
        elif len(self._lines) >= MOST_LINES:
            self.flush()

    def flush(self) -> None:
        """Write what is there."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines = self._lines, []
        if lines:
            try:
                sys.stdout.write("".join(lines))
                sys.stdout.flush()
            except (OSError, ValueError):
                # Nobody reads any more. That must not fail a request.
                self.enabled = False

    def _now(self) -> str:
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second = second
            self._prefix = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._prefix}.{int((now - second) * 1e6):06d}Z"
