"""Calls the procedures of arguments.go with arguments of all kinds.

    python3 examples/wamp/rpc/arguments.py [URL]
"""

import asyncio
import sys

from autobahn.asyncio.wamp import ApplicationRunner, ApplicationSession
from autobahn.wamp.exception import ApplicationError


class Frontend(ApplicationSession):
    async def onJoin(self, details):
        def show(name, result):
            print(f"{name}: [{' '.join(map(str, result))}]" if isinstance(result, list) else f"{name}: {result}")

        async def call(name, *args, **kwargs):
            show(name, await self.call("com.example.arguments." + name, *args, **kwargs))

        await call("ping")
        await call("add2", 2, 3)
        await call("stars")
        await call("stars", nick="Homer", stars=5)
        await call("orders", "coffee")
        await call("orders", "coffee", limit=2)
        await call("arglen", 1, 2, 3, a=1, b=2)
        try:
            await call("add2", 2, "three")
        except ApplicationError as e:
            show("add2", e.error)
        self.leave()

    def onLeave(self, details):
        self.disconnect()

    def onDisconnect(self):
        asyncio.get_running_loop().stop()


if __name__ == "__main__":
    url = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8080/ws"
    ApplicationRunner(url, "gantry").run(Frontend, log_level="warn")
