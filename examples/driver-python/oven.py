"""A driver in Python: an oven that exists in this program only.

It serves the verbs of a driver as WAMP procedures, with Autobahn|Python. What the
gateway expects of them is in docs/drivers/external.md.
"""

import asyncio
import os
import time
from urllib.parse import urlsplit

import txaio

txaio.use_asyncio()

from autobahn.asyncio.rawsocket import WampRawSocketClientFactory, WampRawSocketClientProtocol
from autobahn.asyncio.wamp import ApplicationSession
from autobahn.asyncio.websocket import WampWebSocketClientFactory
from autobahn.wamp import types
from autobahn.wamp.exception import ApplicationError
from autobahn.wamp.serializer import CBORSerializer

# Autobahn 22.7.1 asks its own RawSocket for an attribute that only its WebSocket has.
if not hasattr(WampRawSocketClientProtocol, "transport_details"):
    WampRawSocketClientProtocol.transport_details = property(lambda self: self._transport_details)


class Oven(ApplicationSession):
    values = {"temperature": 20.0, "target": 20.0, "door": False}

    def onConnect(self):
        self.join(os.environ["GANTRY_REALM"], authmethods=["ticket"], authid=os.environ["GANTRY_AUTHID"])

    def onChallenge(self, challenge):
        return os.environ["GANTRY_TICKET"]

    async def onJoin(self, details):
        options = types.RegisterOptions(details_arg="details")
        for verb in "describe", "read", "write", "do", "run":  # run last: then the others are there
            await self.register(getattr(self, verb), os.environ["GANTRY_PREFIX"] + verb, options=options)

    def onLeave(self, details):
        self.disconnect()

    def onDisconnect(self):
        asyncio.get_running_loop().stop()

    async def run(self, device, points, options=None, details=None):
        """Lasts as long as the device is there."""
        details.progress({"up": True})
        while True:  # what an oven says by itself
            self.values["door"] = not self.values["door"]
            details.progress({"readings": [{"point": "door", "value": self.values["door"], "ts": time.time_ns() // 1000}]})
            await asyncio.sleep(5)

    async def describe(self, device, options=None, details=None):
        """What the device is made of, as its file does not say."""
        return {
            "points": {
                "temperature": {"unit": "Cel"},
                "target": {"unit": "Cel", "writable": True, "min": 0, "max": 300},
                "door": {"type": "bool"},
            },
            "actions": {
                "bake": {"description": "heats up, step by step", "progressive": True, "args": {"steps": {"type": "int", "min": 1, "max": 1000}}},
            },
        }

    async def read(self, points, details=None):
        return [{"point": p, "value": self.values[p]} for p in points]

    async def write(self, point, value, caller=None, details=None):
        if self.values["door"] and value > 200:
            raise ApplicationError("gantry.error.refused", "not that hot while the door is open")
        self.values["target"] = self.values["temperature"] = value
        return value

    async def do(self, action, args, caller=None, details=None):
        steps = args.get("steps", 10)
        for step in range(steps):
            if details.progress:
                details.progress({"step": step, "for": (caller or {}).get("authrole")})
            await asyncio.sleep(0.05)
        return {"baked": steps}


async def connect():
    loop, url = asyncio.get_running_loop(), os.environ["GANTRY_URL"]
    at = urlsplit(url)
    if at.scheme == "rs+unix":
        await loop.create_unix_connection(WampRawSocketClientFactory(Oven, serializer=CBORSerializer()), at.path)
    else:  # the gateway has no Unix socket
        await loop.create_connection(WampWebSocketClientFactory(Oven, url=url, serializers=[CBORSerializer()]), at.hostname, at.port)


if __name__ == "__main__":
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(connect())
    loop.run_forever()
