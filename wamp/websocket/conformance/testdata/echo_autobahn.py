"""Echo by Autobahn|Python. The arguments are those of echo_ws.mjs but for the first."""

import asyncio
import json
import sys

from autobahn.asyncio.websocket import (
    WebSocketClientFactory, WebSocketClientProtocol, WebSocketServerFactory, WebSocketServerProtocol)
from autobahn.websocket.compress import (
    PerMessageDeflateOffer, PerMessageDeflateOfferAccept, PerMessageDeflateResponse, PerMessageDeflateResponseAccept)

options, url = json.loads(sys.argv[1]), sys.argv[2]

# Its own limit of one second for the closing handshake is short on a busy machine.
PATIENT = {"openHandshakeTimeout": 30, "closeHandshakeTimeout": 30}


class Echo(WebSocketServerProtocol):
    def onMessage(self, payload, isBinary):
        self.sendMessage(payload, isBinary)


def accepting(deflate):
    def accept(offers):
        for offer in offers:
            if deflate is not None and isinstance(offer, PerMessageDeflateOffer):
                return PerMessageDeflateOfferAccept(
                    offer,
                    request_no_context_takeover=bool(deflate.get("clientNoContextTakeover")) and offer.accept_no_context_takeover,
                    request_max_window_bits=deflate.get("clientMaxWindowBits", 0) if offer.accept_max_window_bits else 0)
    return accept


async def serve():
    loop = asyncio.get_running_loop()
    ports = []
    for deflate in options["serve"]:
        factory = WebSocketServerFactory()
        factory.protocol = Echo
        factory.setProtocolOptions(perMessageCompressionAccept=accepting(deflate), **PATIENT)
        server = await loop.create_server(factory, "127.0.0.1", 0)
        ports.append(str(server.sockets[0].getsockname()[1]))
    print(" ".join(ports), flush=True)


messages = []
for n in options["sizes"]:
    messages.append(((b"the quick brown fox " * (n // 20 + 1))[:n], False))
    messages.append((bytes((i * i >> i % 7) & 255 for i in range(n)), True))


class Drive(WebSocketClientProtocol):
    def onOpen(self):
        self.sent = 0
        if self.factory.deflate is not None and self._perMessageCompress is None:
            return self.factory.done.set_result("no compression")
        self.go_on()

    def go_on(self):
        if self.sent == len(messages):
            return self.sendClose(1000, "done")
        self.sendMessage(*messages[self.sent])

    def onMessage(self, payload, isBinary):
        want = messages[self.sent]
        self.sent += 1
        if (payload, isBinary) != want:
            return self.factory.done.set_result("message %d: %d octets for %d" % (self.sent, len(payload), len(want[0])))
        self.go_on()

    def onClose(self, wasClean, code, reason):
        if not self.factory.done.done():
            good = wasClean and code == 1000 and self.sent == len(messages)
            self.factory.done.set_result("ok" if good else "closed with %s: %s" % (code, reason))


def accept_response(response):
    if isinstance(response, PerMessageDeflateResponse):
        return PerMessageDeflateResponseAccept(response)


async def drive():
    for deflate in options["drive"]:
        factory = WebSocketClientFactory(url)
        factory.protocol = Drive
        factory.deflate = deflate
        factory.done = asyncio.get_running_loop().create_future()
        factory.setProtocolOptions(**PATIENT)
        if deflate is not None:
            offer = PerMessageDeflateOffer(
                request_no_context_takeover=bool(deflate.get("serverNoContextTakeover")),
                request_max_window_bits=deflate.get("serverMaxWindowBits", 0))
            factory.setProtocolOptions(perMessageCompressionOffers=[offer], perMessageCompressionAccept=accept_response)
        await asyncio.get_running_loop().create_connection(factory, "127.0.0.1", factory.port)
        print(await factory.done, flush=True)


async def main():
    await serve()
    await drive()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
