# PyPI's websockets: `/all` gets what anyone there says, any other path an echo.
import asyncio

from websockets.asyncio.server import broadcast, serve

everyone = set()


async def handle(ws):
    if ws.request.path != "/all":
        async for message in ws:
            await ws.send(message)
        return
    everyone.add(ws)
    try:
        async for message in ws:
            broadcast(everyone, message)
    finally:
        everyone.discard(ws)


async def main():
    async with serve(handle, "127.0.0.1", 0, ping_interval=None) as server:
        print("listening on 127.0.0.1:%d" % server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()


asyncio.run(main())
