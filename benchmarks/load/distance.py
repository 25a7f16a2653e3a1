"""A line to a store that is far away. A process of its own, so that it takes no turn of a worker's.

``python -m benchmarks.load.distance FD HOST PORT SECONDS EVERY``: one of the server's answers in so
many is passed on that much later. FD is a socket that listens.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from itertools import count


async def _carry(
    source: asyncio.StreamReader, target: asyncio.StreamWriter, delay: Callable[[], float]
) -> None:
    with suppress(OSError):
        while data := await source.read(65536):
            # No turn of the loop for what is on time.
            if seconds := delay():
                await asyncio.sleep(seconds)
            target.write(data)
            await target.drain()
    target.close()


async def _main(descriptor: int, server: tuple[str, int], seconds: float, every: int) -> None:
    answers = count(1)

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, to_them = await asyncio.open_connection(*server)
        await asyncio.gather(
            _carry(reader, to_them, lambda: 0.0),
            # Counted, and not by chance: a share as small as this would differ too much.
            _carry(theirs, writer, lambda: 0.0 if next(answers) % every else seconds),
        )

    listening = await asyncio.start_server(join, sock=socket.socket(fileno=descriptor))
    await listening.serve_forever()


if __name__ == "__main__":
    fd, host, port, seconds, every = sys.argv[1:]
    with suppress(KeyboardInterrupt):
        asyncio.run(_main(int(fd), (host, int(port)), float(seconds), int(every)))
