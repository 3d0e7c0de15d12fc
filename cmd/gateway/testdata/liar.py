"""A driver that lies, dies and eats: what it does is what the point mode is set to."""

import asyncio
import os
import sys

sys.path.insert(0, os.environ["OVEN"])
import oven

LIES = {"nan": float("nan"), "huge": 10**30, "text": "warm", "list": [[[]]], "null": None, "bytes": b"\xff", "fine": 21.5}


class Liar(oven.Oven):
    mode = "fine"

    async def run(self, device, points, options=None, details=None):
        for nonsense in ("nonsense", {"readings": 7}, {"readings": [{"point": "x", "value": 1}, 3, {"point": "v", "q": "superb"}]}):
            details.progress(nonsense)
        details.progress({"up": True})
        await asyncio.sleep(3600)

    async def read(self, points, details=None):
        if self.mode == "silent":
            await asyncio.sleep(3600)
        if self.mode == "garbage":
            return "garbage"
        return [{"point": p, "value": os.getpid() if p == "pid" else LIES[self.mode], "ts": -1} for p in points if p != "mode"] + [{"point": "other"}]

    async def write(self, point, value, caller=None, details=None):
        if value == "eat":
            try:
                eaten = bytearray(1 << 30)
            except MemoryError:
                os._exit(9)
            return str(len(eaten))
        self.mode = value
        return 5 if value == "wrong" else None

    async def do(self, action, args, caller=None, details=None):
        # The box: a program may serve its own device only.
        try:
            await getattr(self, args["how"])(args["uri"]) if args["how"] == "call" else await self.register(lambda: 1, args["uri"])
        except Exception as e:
            return getattr(e, "error", str(e))
        return "allowed"


if __name__ == "__main__":
    oven.Oven = Liar
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(oven.connect())
    loop.run_forever()
