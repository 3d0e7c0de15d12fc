"""Shares a procedure with shared.go: calls go to one after the other.

    python3 examples/wamp/rpc/shared.py [URL]
"""

import asyncio
import sys

from autobahn.asyncio.wamp import ApplicationRunner, ApplicationSession
from autobahn.wamp.types import RegisterOptions


class Frontend(ApplicationSession):
    async def onJoin(self, details):
        options = RegisterOptions(invoke="roundrobin")
        await self.register(lambda: "frontend", "com.example.shared.work", options=options)
        done = [await self.call("com.example.shared.work") for _ in range(4)]
        print(f"backend {done.count('backend')}, frontend {done.count('frontend')}")
        self.leave()

    def onLeave(self, details):
        self.disconnect()

    def onDisconnect(self):
        asyncio.get_running_loop().stop()


if __name__ == "__main__":
    url = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8080/ws"
    ApplicationRunner(url, "gantry").run(Frontend, log_level="warn")
