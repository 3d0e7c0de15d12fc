"""Makes two calls at the same time: slowsquare.go answers the second one first.

    python3 examples/wamp/rpc/slowsquare.py [URL]
"""

import asyncio
import sys

from autobahn.asyncio.wamp import ApplicationRunner, ApplicationSession


class Frontend(ApplicationSession):
    async def onJoin(self, details):
        slow = self.call("com.example.slowsquare.slow", 3)
        quick = self.call("com.example.slowsquare.quick", 4)
        print("quick:", await quick)
        self.publish("com.example.slowsquare.hurry")
        print("slow:", await slow)
        self.leave()

    def onLeave(self, details):
        self.disconnect()

    def onDisconnect(self):
        asyncio.get_running_loop().stop()


if __name__ == "__main__":
    url = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8080/ws"
    ApplicationRunner(url, "gantry").run(Frontend, log_level="warn")
