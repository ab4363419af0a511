"""A load of its own process: asks for pages over keep-alive connections and tells what came of it as JSON.

``python -m bench.load BASE_URL SECONDS CONNECTIONS TOKEN PATH...``; a path that begins with ``!`` goes with the token.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from urllib.parse import urlsplit


class Tally:
    """Answers by status, and how long they took in seconds."""

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.seconds: list[float] = []
        self.degraded = 0

    def report(self) -> dict[str, object]:
        """Counts and percentiles."""
        ordered = sorted(self.seconds) or [0.0]
        at = {f"p{share}": ordered[min(len(ordered) - 1, len(ordered) * share // 100)] for share in (50, 99)}
        return {
            "answers": len(self.seconds),
            "statuses": dict(self.statuses),
            "degraded": self.degraded,
            **at,
            "longest": ordered[-1],
        }


async def ask(host: str, port: int, requests: list[bytes], until: float, tally: Tally, offset: int) -> None:
    """One connection after another, a request at a time."""
    number = offset
    while time.monotonic() < until:
        try:
            reader, writer = await asyncio.open_connection(host, port)
        except OSError:
            tally.statuses["no connection"] += 1
            await asyncio.sleep(0.05)
            continue
        try:
            while time.monotonic() < until:
                started = time.monotonic()
                writer.write(requests[number % len(requests)])
                number += 1
                status, body = await answer(reader)
                tally.seconds.append(time.monotonic() - started)
                tally.statuses[status] += 1
                tally.degraded += b'"_degraded"' in body
        except (OSError, asyncio.IncompleteReadError, ValueError):
            tally.statuses["broken connection"] += 1
        finally:
            writer.close()


async def answer(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """Status and body of one answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    return head[9:12].decode(), await reader.readexactly(length)


async def main() -> None:
    """Ask until the time is over, then print the tally."""
    url, seconds, connections, token, *paths = sys.argv[1:]
    parts = urlsplit(url)
    requests = [
        f"GET {path.removeprefix('!')} HTTP/1.1\r\nhost: {parts.netloc}\r\n"
        f"{f'authorization: Bearer {token}' + chr(13) + chr(10) if path.startswith('!') else ''}\r\n".encode()
        for path in paths
    ]
    tally = Tally()
    until = time.monotonic() + float(seconds)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    await asyncio.gather(*(ask(host, port, requests, until, tally, n) for n in range(int(connections))))
    json.dump(tally.report(), sys.stdout)


if __name__ == "__main__":
    asyncio.run(main())
