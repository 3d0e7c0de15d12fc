"""Publishes events with several values, and with none, for complex.go.

    python3 examples/wamp/pubsub/complex.py [URL]
"""

import asyncio
import sys

from autobahn.asyncio.wamp import ApplicationRunner, ApplicationSession


class Frontend(ApplicationSession):
    async def onJoin(self, details):
        self.publish("com.example.complex.heartbeat")
        self.publish("com.example.complex.reading", 21.5, unit="Cel", tags=["north", "roof"])
        self.publish("com.example.complex.reading", 40.25, unit="%")
        print("published")
        self.leave()

    def onLeave(self, details):
        self.disconnect()

    def onDisconnect(self):
        asyncio.get_running_loop().stop()


if __name__ == "__main__":
    url = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8080/ws"
    ApplicationRunner(url, "gantry").run(Frontend, log_level="warn")
