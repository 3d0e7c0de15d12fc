"""Delivers to the shop of attach.go, and tells it a price.

    python3 examples/wamp/template/attach.py [URL]
"""

import asyncio
import sys

from autobahn.asyncio.wamp import ApplicationRunner, ApplicationSession


class Frontend(ApplicationSession):
    async def onJoin(self, details):
        for pieces in [10, 5]:
            print(await self.call("com.example.attach.7.deliver", pieces), "in stock")
        self.publish("com.example.attach.7.priced", 2.5)
        self.leave()

    def onLeave(self, details):
        self.disconnect()

    def onDisconnect(self):
        asyncio.get_running_loop().stop()


if __name__ == "__main__":
    url = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8080/ws"
    ApplicationRunner(url, "gantry").run(Frontend, log_level="warn")
