"""An upstream that takes its time: every answer half a second. ``python -m bench.slow PORT FOLDER``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

SECONDS = 0.5


async def main() -> None:
    """Serve the three documents slowly."""
    port, folder = int(sys.argv[1]), Path(sys.argv[2])
    bodies = {name: (folder / f"{name}.json").read_bytes() for name in ("product", "reviews", "related")}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                path = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1].decode()
                name = path.rpartition("/")[2].partition("?")[0]
                body = bodies.get(name, bodies["product"])
                await asyncio.sleep(SECONDS)
                head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
                writer.write(head + body)
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", port) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
