#!/usr/bin/env python3
"""A lamp that is a program: readings go out as lines of JSON, writes and actions come in.

docs/drivers/exec.md describes the lines. Needs nothing but Python 3.
"""
import json
import sys


def say(**line):
    print(json.dumps(line), flush=True)


class Lamp:
    def __init__(self):
        self.brightness = 0.0

    def report(self):
        say(point="brightness", value=self.brightness)
        say(point="on", value=self.brightness > 0)

    def set(self, value):
        self.brightness = value
        self.report()


def serve(lamp, request):
    number = request.get("id")
    if request.get("write") == "brightness":
        lamp.set(request["value"])
        say(id=number, result=lamp.brightness)
    elif request.get("do") == "fade":
        start, to = lamp.brightness, request["args"]["to"]
        for step in range(1, 5):
            lamp.set(start + (to - start) * step / 4)
            if step < 4:
                say(id=number, progress=lamp.brightness)
        say(id=number, result=lamp.brightness)
    elif "cancel" not in request:
        say(id=number, error="refused", text="the lamp cannot do that")


lamp = Lamp()
say(up=True)
lamp.report()
for line in sys.stdin:
    try:
        serve(lamp, json.loads(line))
    except Exception as e:  # what goes to standard error is in the gateway's log
        print(f"{line.strip()}: {e!r}", file=sys.stderr, flush=True)
