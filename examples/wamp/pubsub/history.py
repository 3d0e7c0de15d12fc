"""Asks for the last two events that history.go published, the newest first.

    python3 examples/wamp/pubsub/history.py [URL]
"""

import asyncio
import sys

from autobahn.asyncio.wamp import ApplicationRunner, ApplicationSession


class Frontend(ApplicationSession):
    async def onJoin(self, details):
        kept = await self.call("wamp.subscription.lookup", "com.example.history.temperature")
        for event in await self.call("wamp.subscription.get_events", kept, limit=2, reverse=True):
            print("it was", event["args"][0])
        self.leave()

    def onLeave(self, details):
        self.disconnect()

    def onDisconnect(self):
        asyncio.get_running_loop().stop()


if __name__ == "__main__":
    url = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8080/ws"
    ApplicationRunner(url, "gantry").run(Frontend, log_level="warn")
