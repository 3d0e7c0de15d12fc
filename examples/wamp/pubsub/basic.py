"""Publishes what basic.go subscribes to.

    python3 examples/wamp/pubsub/basic.py [URL]
"""

import asyncio
import sys

from autobahn.asyncio.wamp import ApplicationRunner, ApplicationSession


class Frontend(ApplicationSession):
    async def onJoin(self, details):
        for n in range(3):
            self.publish("com.example.basic.counter", n)
            print("published", n)
        self.leave()

    def onLeave(self, details):
        self.disconnect()

    def onDisconnect(self):
        asyncio.get_running_loop().stop()


if __name__ == "__main__":
    url = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8080/ws"
    ApplicationRunner(url, "gantry").run(Frontend, log_level="warn")
