"""Is told by progress.go how far it has come.

    python3 examples/wamp/rpc/progress.py [URL]
"""

import asyncio
import sys

from autobahn.asyncio.wamp import ApplicationRunner, ApplicationSession
from autobahn.wamp.types import CallOptions


class Frontend(ApplicationSession):
    async def onJoin(self, details):
        options = CallOptions(on_progress=lambda n: print("counted to", n))
        print("counted to", await self.call("com.example.progress.count", 3, options=options))
        self.leave()

    def onLeave(self, details):
        self.disconnect()

    def onDisconnect(self):
        asyncio.get_running_loop().stop()


if __name__ == "__main__":
    url = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8080/ws"
    ApplicationRunner(url, "gantry").run(Frontend, log_level="warn")
