"""Sends a file in pieces and reads it back: docs/files.md in Python.

    python3 transfer.py URL GATEWAY NAME [PIECES]

With PIECES it stops after so many pieces. It prints where it began.
"""

import asyncio
import hashlib
import sys

from autobahn.asyncio.wamp import ApplicationRunner, ApplicationSession

CONTENT = bytes(range(256)) * 40
PIECE = 1000


class Transfer(ApplicationSession):
    async def onJoin(self, details):
        prefix, name = "gantry.%s.sys.file." % sys.argv[2], sys.argv[3]
        offset = await self.call(prefix + "begin", name, len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
        print("began at", offset, flush=True)
        left = int(sys.argv[4]) if len(sys.argv) > 4 else len(CONTENT)
        while offset < len(CONTENT) and left > 0:
            offset = await self.call(prefix + "chunk", name, offset, CONTENT[offset : offset + PIECE])
            left -= 1
        if offset == len(CONTENT):
            await self.call(prefix + "end", name)
            back = b""
            while piece := await self.call(prefix + "read", name, len(back), PIECE):
                back += piece
            print("same" if back == CONTENT else "different", flush=True)
        self.leave()

    def onLeave(self, details):
        self.disconnect()

    def onDisconnect(self):
        asyncio.get_running_loop().stop()


ApplicationRunner(sys.argv[1], "gantry").run(Transfer, log_level="warn")
