"""Logs in by every method that Autobahn|Python has: see login.go.

    python3 examples/wamp/login/login.py URL anonymous|ticket|wampcra|scram|cryptosign|cookie|dynamic
    python3 examples/wamp/login/login.py URL tls CA CERT KEY       (files in PEM)
"""

import asyncio
import base64
import os
import ssl
import sys

from autobahn.asyncio.wamp import ApplicationRunner, ApplicationSession
from autobahn.wamp.auth import create_authenticator

SECRET = "secret123"
KEY = "1234567812345678123456781234567812345678123456781234567812345678"

# What is called by which name, who uses it, and with what.
METHODS = {
    "ticket": ("ticket", "joe", {"ticket": SECRET}),
    "wampcra": ("wampcra", "joe", {"secret": SECRET}),
    "scram": ("scram", "joe", {"password": SECRET}),
    "cryptosign": ("cryptosign", "kim", {"privkey": KEY}),
    # A user whom only the authenticator of dynamic.go knows.
    "dynamic": ("wampcra", "ann", {"secret": SECRET}),
}


class Visitor(ApplicationSession):
    def onConnect(self):
        method = self.config.extra["method"]
        if method in METHODS:
            method, authid, secret = METHODS[method]
            self.proof = create_authenticator(method, authid=authid, **secret)
            self.join(self.config.realm, authmethods=[method], authid=authid, authextra=self.proof.authextra)
        else:  # anonymous, tls and cookie need no answer
            self.proof = None
            self.join(self.config.realm, authmethods=[method])

    def onChallenge(self, challenge):
        return self.proof.on_challenge(self, challenge)

    def onWelcome(self, welcome):
        # SCRAM has the router prove itself.
        return self.proof and self.proof.on_welcome(self, welcome.authextra)

    def onJoin(self, details):
        print(f"{details.authid}, role {details.authrole}, by {details.authmethod}")
        self.leave()

    def onLeave(self, details):
        if details.reason != "wamp.close.goodbye_and_out":
            print("refused:", details.reason, details.message)
        self.disconnect()

    def onDisconnect(self):
        asyncio.get_running_loop().stop()


if __name__ == "__main__":
    url, method, files = sys.argv[1], sys.argv[2], sys.argv[3:]
    context = None
    if files:
        context = ssl.create_default_context(cafile=files[0])
        context.load_cert_chain(files[1], files[2])
    headers, sessions = None, [method]
    if method == "cookie":
        # A browser gets its cookie from the router, a program may make one up: 20 bytes that nobody guesses.
        headers = {"Cookie": "gantry=" + base64.b32encode(os.urandom(20)).decode()}
        sessions = ["ticket", "cookie"]  # it counts for whoever has logged in with it
    for method in sessions:
        # Each run closes its event loop, so the next one needs another.
        asyncio.set_event_loop(asyncio.new_event_loop())
        runner = ApplicationRunner(url, "gantry", extra={"method": method}, ssl=context, headers=headers)
        runner.run(Visitor, log_level="warn")
