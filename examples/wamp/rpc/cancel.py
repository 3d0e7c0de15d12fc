"""Gives a call to cancel.go up once the work has begun.

    python3 examples/wamp/rpc/cancel.py [URL]
"""

import asyncio
import sys

from autobahn.asyncio.wamp import ApplicationRunner, ApplicationSession
from autobahn.wamp.types import CallOptions


class Frontend(ApplicationSession):
    async def onJoin(self, details):
        def progress(state):
            print("the work has", state)
            work.cancel()

        work = self.call("com.example.cancel.work", options=CallOptions(on_progress=progress))
        try:
            await work
        except asyncio.CancelledError:
            print("cancelled")
        self.leave()

    def onLeave(self, details):
        self.disconnect()

    def onDisconnect(self):
        asyncio.get_running_loop().stop()


if __name__ == "__main__":
    url = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8080/ws"
    ApplicationRunner(url, "gantry").run(Frontend, log_level="warn")
