"""A TCP proxy that holds every byte back for a while: the network between two machines, on one.

`python -m benchmarks.proxy LISTEN_PORT HOST PORT DELAY_MS`
"""

from __future__ import annotations

import asyncio
import contextlib
import sys


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    """Copy bytes in order, each chunk `delay_s` after it came; chunks do not wait for each other."""
    chunks: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    async def deliver() -> None:
        while True:
            due, chunk = await chunks.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not chunk:
                writer.close()
                return
            writer.write(chunk)
            await writer.drain()

    delivering = asyncio.create_task(deliver())
    with contextlib.suppress(OSError):
        while chunk := await reader.read(1 << 16):
            chunks.put_nowait((loop.time() + delay_s, chunk))
    chunks.put_nowait((loop.time() + delay_s, b""))
    with contextlib.suppress(OSError):
        await delivering


async def serve(listen: int, host: str, port: int, delay_s: float) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(host, port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(pump(reader, far_writer, delay_s), pump(far_reader, writer, delay_s))

    server = await asyncio.start_server(accept, "127.0.0.1", listen)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    port, target, target_port, delay_ms = sys.argv[1:]
    asyncio.run(serve(int(port), target, int(target_port), float(delay_ms) / 1000))
