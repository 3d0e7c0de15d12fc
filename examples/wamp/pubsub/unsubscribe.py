"""Hears two ticks of unsubscribe.go, misses one and hears another.

    python3 examples/wamp/pubsub/unsubscribe.py [URL]
"""

import asyncio
import sys

from autobahn.asyncio.wamp import ApplicationRunner, ApplicationSession


class Frontend(ApplicationSession):
    async def onJoin(self, details):
        async def subscribe():
            return await self.subscribe(lambda n: print("tick", n), "com.example.unsubscribe.tick")

        async def tick():
            # The event is on its way before the result, so it is heard before it.
            await self.call("com.example.unsubscribe.next")

        subscription = await subscribe()
        await tick()
        await tick()
        await subscription.unsubscribe()
        await tick()
        await subscribe()
        await tick()
        self.leave()

    def onLeave(self, details):
        self.disconnect()

    def onDisconnect(self):
        asyncio.get_running_loop().stop()


if __name__ == "__main__":
    url = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8080/ws"
    ApplicationRunner(url, "gantry").run(Frontend, log_level="warn")
