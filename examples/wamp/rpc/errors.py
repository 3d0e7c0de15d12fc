"""Tells the errors of errors.go apart: one of them as an exception of its own.

    python3 examples/wamp/rpc/errors.py [URL]
"""

import asyncio
import sys

from autobahn.asyncio.wamp import ApplicationRunner, ApplicationSession
from autobahn.wamp import error
from autobahn.wamp.exception import ApplicationError


@error("com.example.errors.negative")
class Negative(Exception):
    pass


class Frontend(ApplicationSession):
    async def onJoin(self, details):
        self.define(Negative)
        print(f"sqrt: {await self.call('com.example.errors.sqrt', 16):g}")
        try:
            await self.call("com.example.errors.sqrt", -1)
        except Negative:
            print("sqrt: negative")
        try:
            await self.call("com.example.errors.checkname", "Bartholomew")
        except ApplicationError as e:
            print(f"checkname: {e.args[0]} has more than {e.kwargs['max']} letters")
        try:
            await self.call("com.example.errors.print")
        except ApplicationError as e:
            print(f"print: {e.error}, {e.args[0]}")
        self.leave()

    def onLeave(self, details):
        self.disconnect()

    def onDisconnect(self):
        asyncio.get_running_loop().stop()


if __name__ == "__main__":
    url = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8080/ws"
    ApplicationRunner(url, "gantry").run(Frontend, log_level="warn")
