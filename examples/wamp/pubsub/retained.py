"""Gets at once what retained.go published before.

    python3 examples/wamp/pubsub/retained.py [URL]
"""

import asyncio
import sys

from autobahn.asyncio.wamp import ApplicationRunner, ApplicationSession
from autobahn.wamp.types import SubscribeOptions


class Frontend(ApplicationSession):
    async def onJoin(self, details):
        heard = asyncio.get_running_loop().create_future()
        options = SubscribeOptions(get_retained=True, details=True)
        await self.subscribe(lambda state, details: heard.set_result((state, details.retained)),
                             "com.example.retained.door", options=options)
        state, retained = await heard
        print(f"the door is {state}, retained: {str(retained).lower()}")
        self.leave()

    def onLeave(self, details):
        self.disconnect()

    def onDisconnect(self):
        asyncio.get_running_loop().stop()


if __name__ == "__main__":
    url = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8080/ws"
    ApplicationRunner(url, "gantry").run(Frontend, log_level="warn")
