"""Says with each event whom it is for; options.go is somebody else.

    python3 examples/wamp/pubsub/options.py [URL]
"""

import asyncio
import sys

from autobahn.asyncio.wamp import ApplicationRunner, ApplicationSession
from autobahn.wamp.types import PublishOptions


class Frontend(ApplicationSession):
    async def onJoin(self, details):
        await self.subscribe(lambda news: print("heard myself:", news), "com.example.options.news")
        for news, options in [
            ("for all others", {}),
            ("for everybody", {"exclude_me": False}),
            ("for one session", {"exclude_me": False, "eligible": [details.session]}),
            ("for all but one session", {"exclude_me": False, "exclude": [details.session]}),
        ]:
            # Acknowledged: the router has taken the event, or refuses it with an exception.
            options = PublishOptions(acknowledge=True, **options)
            await self.publish("com.example.options.news", news, options=options)
        self.leave()

    def onLeave(self, details):
        self.disconnect()

    def onDisconnect(self):
        asyncio.get_running_loop().stop()


if __name__ == "__main__":
    url = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8080/ws"
    ApplicationRunner(url, "gantry").run(Frontend, log_level="warn")
