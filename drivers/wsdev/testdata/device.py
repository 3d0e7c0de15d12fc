"""A thermostat on Python's websockets: device.py dial URL TOKEN, or device.py serve."""
import asyncio
import json
import sys

import websockets

target = 20.0


async def talk(ws):
    global target
    await ws.send(json.dumps({"type": "state", "t": 21.5, "text": "gr\u00fcn"}))
    async for text in ws:
        message = json.loads(text)
        answer = {"id": message["id"]}
        if "set" in message and not 5 <= message["set"] <= 30:
            answer["error"] = "out of range"
        elif "set" in message:
            target = answer["result"] = message["set"]
        elif message.get("do") == "count":
            for i in range(message["to"]):
                await ws.send(json.dumps({"type": "count", "n": i}))
            answer["result"] = "counted"
        else:
            answer["result"] = message
        await ws.send(json.dumps(answer))


async def main():
    if sys.argv[1] == "dial":
        headers = {"Authorization": "Bearer " + sys.argv[3]}
        async with websockets.connect(sys.argv[2], extra_headers=headers) as ws:
            await talk(ws)
        return
    async with websockets.serve(lambda ws: talk(ws), "127.0.0.1", 0) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()


asyncio.run(main())
