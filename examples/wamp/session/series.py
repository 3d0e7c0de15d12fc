"""Visits series.go in three sessions, one after the other.

    python3 examples/wamp/session/series.py [URL]
"""

import asyncio
import sys

from autobahn.asyncio.wamp import ApplicationRunner, ApplicationSession


class Visitor(ApplicationSession):
    def onConnect(self):
        print("connected")
        super().onConnect()

    async def onJoin(self, details):
        visit = await self.call("com.example.series.visit")
        print(f"session {self.config.extra['number']} is visit {visit}")
        self.leave()

    def onLeave(self, details):
        self.disconnect()

    def onDisconnect(self):
        print("disconnected")
        asyncio.get_event_loop().stop()


if __name__ == "__main__":
    url = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8080/ws"
    for number in [1, 2, 3]:
        # Each run closes its event loop, so the next one needs another.
        asyncio.set_event_loop(asyncio.new_event_loop())
        ApplicationRunner(url, "gantry", extra={"number": number}).run(Visitor, log_level="warn")
