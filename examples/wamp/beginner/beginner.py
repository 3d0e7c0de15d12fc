"""All four roles at once: the frontend to the backend of beginner.go.

    python3 examples/wamp/beginner/beginner.py [URL]
"""

import asyncio
import sys

from autobahn.asyncio.wamp import ApplicationRunner, ApplicationSession


class Frontend(ApplicationSession):
    async def onJoin(self, details):
        await self.register(lambda a, b: a * b, "com.example.beginner.mul2")
        await self.subscribe(lambda total: print("calculated:", total), "com.example.beginner.calculated")
        self.publish("com.example.beginner.hello", "the frontend")
        print("the result is", await self.call("com.example.beginner.muladd", 2, 3, 4))
        self.leave()

    def onLeave(self, details):
        self.disconnect()

    def onDisconnect(self):
        asyncio.get_running_loop().stop()


if __name__ == "__main__":
    url = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8080/ws"
    ApplicationRunner(url, "gantry").run(Frontend, log_level="warn")
