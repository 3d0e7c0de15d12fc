"""Publishes on topics that match the patterns of patterns.go, and on one that does not.

    python3 examples/wamp/pubsub/patterns.py [URL]
"""

import asyncio
import sys

from autobahn.asyncio.wamp import ApplicationRunner, ApplicationSession


class Frontend(ApplicationSession):
    async def onJoin(self, details):
        self.publish("com.example.patterns.kitchen.1.celsius", 21.5)
        self.publish("com.example.patterns.kitchen.1.humidity", 40)
        self.publish("com.example.patterns.cellar.2.celsius", 12.25)
        self.publish("com.example.patterns.alarm.cellar.door", "open")
        print("published")
        self.leave()

    def onLeave(self, details):
        self.disconnect()

    def onDisconnect(self):
        asyncio.get_running_loop().stop()


if __name__ == "__main__":
    url = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8080/ws"
    ApplicationRunner(url, "gantry").run(Frontend, log_level="warn")
