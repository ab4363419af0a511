"""What every server here answers, for uvicorn: ``python -m tests.wire.servers.app httptools|h11 [certificate]``.

/body/N             N bytes with their length          /chunked/N, /until-close/N   the same, framed otherwise
/trailers /early    trailers; 103 before the answer    /status/N                    an answer without content
/coded/NAME         100 kB with this content coding    /headers/N/M                 N headers of M bytes
/echo /hash         the request's body; its SHA-256    /count                       requests on this connection so far
/endless            64 MB                              /sent                        how much of them has been taken
/bye                an answer after which the server closes the connection without having said so
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import sys
import zlib
from collections import Counter
from typing import Any

import brotli
import uvicorn
import zstandard

PATTERN = b"0123456789abcdef"
CODERS: dict[str, Any] = {
    "gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress, "zstd": zstandard.compress,
}  # fmt: skip
asked: Counter[Any] = Counter()
sent = 0
server: uvicorn.Server


def content(size: int) -> bytes:
    return (PATTERN * (size // 16 + 1))[:size]


async def app(scope: Any, receive: Any, send: Any) -> None:
    asked[scope["client"]] += 1
    what, argument, second = [*scope["path"].split("/")[1:], "", ""][:3]
    headers: list[tuple[bytes, bytes]] = []
    body, status = b"hello", 200
    if what in {"body", "chunked"}:
        body = content(int(argument))
        headers = [(b"content-length", argument.encode())] if what == "body" else []
    elif what == "status":
        body, status = b"", int(argument)
    elif what == "coded":
        body, headers = CODERS[argument](content(100_000)), [(b"content-encoding", argument.encode())]
    elif what == "headers":
        headers = [(b"x-%d" % number, b"y" * int(second)) for number in range(int(argument))]
    elif what in {"echo", "hash"}:
        body = await read(receive)
        body = body if what == "echo" else hashlib.sha256(body).hexdigest().encode()
    elif what == "count":
        body = b"%d" % asked[scope["client"]]
    elif what == "sent":
        body = b"%d" % sent
    elif what == "endless":
        await endless(send)
        return
    elif what == "bye":
        body, headers = b"bye", [(b"content-length", b"3")]
        connection = next(x for x in server.server_state.connections if x.client == scope["client"])  # type: ignore[union-attr]
        asyncio.get_running_loop().call_later(0.02, connection.transport.close)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def read(receive: Any) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def endless(send: Any) -> None:
    global sent  # noqa: PLW0603 - one client looks at it
    sent, piece = 0, content(65536)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(1024):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        sent += len(piece)
    await send({"type": "http.response.body", "body": b""})


class Server(uvicorn.Server):
    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        print(self.servers[0].sockets[0].getsockname()[1], flush=True)


if __name__ == "__main__":
    file = sys.argv[2] if len(sys.argv) > 2 else None
    config = uvicorn.Config(
        app, port=0, http=sys.argv[1], lifespan="off", log_level="critical", timeout_keep_alive=60, ssl_certfile=file,
    )  # fmt: skip
    server = Server(config)
    server.run()
