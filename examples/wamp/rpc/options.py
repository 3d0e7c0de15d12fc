"""Calls the procedures that options.go has registered with options.

    python3 examples/wamp/rpc/options.py [URL]
"""

import asyncio
import sys

from autobahn.asyncio.wamp import ApplicationRunner, ApplicationSession
from autobahn.wamp.exception import ApplicationError
from autobahn.wamp.types import CallOptions


class Frontend(ApplicationSession):
    async def onJoin(self, details):
        who = await self.call("com.example.options.whoami")
        print("the callee knows who calls:", str(who == details.session).lower())
        print(await self.call("com.example.options.kitchen.light", True))
        try:
            await self.call("com.example.options.stuck", options=CallOptions(timeout=50))  # milliseconds
        except ApplicationError as e:
            print("no answer:", e.error)
        self.leave()

    def onLeave(self, details):
        self.disconnect()

    def onDisconnect(self):
        asyncio.get_running_loop().stop()


if __name__ == "__main__":
    url = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8080/ws"
    ApplicationRunner(url, "gantry").run(Frontend, log_level="warn")
