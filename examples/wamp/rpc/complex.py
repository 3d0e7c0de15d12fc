"""Takes results of several values apart, those of complex.go.

    python3 examples/wamp/rpc/complex.py [URL]
"""

import asyncio
import sys

from autobahn.asyncio.wamp import ApplicationRunner, ApplicationSession


class Frontend(ApplicationSession):
    async def onJoin(self, details):
        # More than one value is a CallResult.
        total = await self.call("com.example.complex.add", 2, 3, 4, 5)
        print(f"the sum is {total.kwresults['c']} + {total.kwresults['ci']}i")
        name = await self.call("com.example.complex.split_name", "Homer Simpson")
        print(f"forename {name.results[0]}, surname {name.results[1]}")
        self.leave()

    def onLeave(self, details):
        self.disconnect()

    def onDisconnect(self):
        asyncio.get_running_loop().stop()


if __name__ == "__main__":
    url = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8080/ws"
    ApplicationRunner(url, "gantry").run(Frontend, log_level="warn")
