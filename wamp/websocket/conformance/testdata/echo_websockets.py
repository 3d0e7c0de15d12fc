"""Echo by the Python library websockets. The arguments are those of echo_ws.mjs but for the first."""

import asyncio
import contextlib
import json
import sys

import websockets
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, ServerPerMessageDeflateFactory

options, url = json.loads(sys.argv[1]), sys.argv[2]


def extensions(factory, deflate):
    if deflate is None:
        return None
    return [factory(
        server_no_context_takeover=bool(deflate.get("serverNoContextTakeover")),
        client_no_context_takeover=bool(deflate.get("clientNoContextTakeover")),
        server_max_window_bits=deflate.get("serverMaxWindowBits"),
        client_max_window_bits=deflate.get("clientMaxWindowBits"))]


async def echo(socket):
    async for message in socket:
        await socket.send(message)


async def serve(stack):
    ports = []
    for deflate in options["serve"]:
        found = extensions(ServerPerMessageDeflateFactory, deflate)
        server = await stack.enter_async_context(
            websockets.serve(echo, "127.0.0.1", 0, compression=None, extensions=found, max_size=None))
        ports.append(str(server.sockets[0].getsockname()[1]))
    print(" ".join(ports), flush=True)


async def drive_one(deflate):
    found = extensions(ClientPerMessageDeflateFactory, deflate)
    async with websockets.connect(url, compression=None, extensions=found, max_size=None) as socket:
        if found and not socket.extensions:
            return "no compression"
        for size in options["sizes"]:
            for message in ("the quick brown fox " * (size // 20 + 1))[:size], bytes((i * i >> i % 7) & 255 for i in range(size)):
                await socket.send(message)
                got = await socket.recv()
                if got != message:
                    return "%d octets for %d" % (len(got), len(message))
    return "ok" if socket.close_code == 1000 else "closed with %s" % socket.close_code


async def drive():
    for deflate in options["drive"]:
        try:
            print(await drive_one(deflate), flush=True)
        except (OSError, websockets.exceptions.WebSocketException) as error:
            print(repr(error), flush=True)


async def main():
    async with contextlib.AsyncExitStack() as stack:
        await serve(stack)
        await drive()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
