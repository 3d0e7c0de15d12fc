"""A WAMP client on Autobahn|Python that a test drives line by line.

Commands arrive as JSON objects, one a line, on standard input; answers and
events leave as JSON objects, one a line, on standard output. The other peers
speak the same:

    {"op": "join", "url": "ws[s]://HOST:PORT/PATH|rs[s]://HOST:PORT|rs+unix:///PATH", "realm": URI,
     "serializer": "json|msgpack|cbor", perhaps with ".batched", "ca": FILE,            (ca with TLS)
     "auth": {"method": "ticket|wampcra|cryptosign|scram|tls", "authid": ID, "secret": TEXT,
              "cert": FILE, "key": FILE}}                                               (auth may be missing)
    {"op": "leave"}
    {"op": "subscribe", "topic": URI, "match": "exact|prefix|wildcard", "retained": false}
    {"op": "publish", "topic": URI, "args": [], "kwargs": {}, "options": {}}      (acknowledged)
    {"op": "register", "procedure": URI, "match": "...", "invoke": "single|roundrobin|...", "kind": KIND}
    {"op": "call", "procedure": URI, "args": [], "kwargs": {}, "progress": false, "timeout": ms}
    {"op": "unsubscribe|unregister|cancel", "target": id of the command to undo, "mode": how to cancel}
    {"op": "release"}                                   (ends the invocations that hang)

A command with an "id" is answered by {"reply": id, "ok": RESULT} or
{"reply": id, "error": URI, "args": [], "kwargs": {}}. Unasked come

    {"event": "left", "reason": URI or null}            (the session that had joined is over)
    {"event": "event", "for": id of subscribe, "topic": URI, "args": [], "kwargs": {}, "retained": false}
    {"event": "progress", "for": id of call, "args": []}
    {"event": "invoked"} and {"event": "interrupted"}   (from procedures of the kind hang)

Kinds of procedures: echo returns its arguments, where the URI that was called,
fail the error com.example.error with its arguments, slow(n) n after progress 0 to
n-1, hang "late" after "release", meet(n) n when n invocations are in progress.
Bytes travel as {"$bytes": "hex"} in both directions.
"""

import asyncio
import json
import ssl
import sys
from functools import partial
from urllib.parse import urlsplit

import txaio

txaio.use_asyncio()

from autobahn.asyncio.rawsocket import WampRawSocketClientFactory, WampRawSocketClientProtocol
from autobahn.asyncio.wamp import ApplicationSession
from autobahn.asyncio.websocket import WampWebSocketClientFactory
from autobahn.wamp import types
from autobahn.wamp.auth import create_authenticator
from autobahn.wamp.exception import ApplicationError
from autobahn.wamp.serializer import CBORSerializer, JsonSerializer, MsgPackSerializer

# Autobahn 22.7.1 as Debian 12 ships it asks its own RawSocket for an attribute that only its WebSocket has.
if not hasattr(WampRawSocketClientProtocol, "transport_details"):
    WampRawSocketClientProtocol.transport_details = property(lambda self: self._transport_details)

SERIALIZERS = {name + suffix: partial(kind, batched=bool(suffix)) for suffix in ("", ".batched")
               for name, kind in (("json", JsonSerializer), ("msgpack", MsgPackSerializer), ("cbor", CBORSerializer))}

# What create_authenticator calls the secret of each method.
SECRETS = {"ticket": "ticket", "wampcra": "secret", "cryptosign": "privkey", "scram": "password"}


def say(**message):
    def encode(value):
        if isinstance(value, (bytes, bytearray)):
            return {"$bytes": bytes(value).hex()}
        raise TypeError(type(value))

    sys.stdout.write(json.dumps(message, default=encode) + "\n")
    sys.stdout.flush()


def bytes_hook(value):
    return bytes.fromhex(value["$bytes"]) if set(value) == {"$bytes"} else value


def encryption(c):
    if "ca" not in c:
        return None
    context = ssl.create_default_context(cafile=c["ca"])
    if "cert" in (c.get("auth") or {}):
        context.load_cert_chain(c["auth"]["cert"], c["auth"]["key"])
    return context


class Peer(ApplicationSession):
    def __init__(self, realm, auth):
        super().__init__(types.ComponentConfig(realm=realm))
        self.joined = asyncio.get_running_loop().create_future()
        self.auth = auth
        self.authenticator = None
        if auth and auth["method"] in SECRETS:
            secret = {SECRETS[auth["method"]]: auth["secret"]}
            self.authenticator = create_authenticator(auth["method"], authid=auth["authid"], **secret)

    def onConnect(self):
        if self.auth is None:
            self.join(self.config.realm)
        else:
            extra = self.authenticator and self.authenticator.authextra
            self.join(self.config.realm, authmethods=[self.auth["method"]], authid=self.auth["authid"], authextra=extra)

    def onChallenge(self, challenge):
        return self.authenticator.on_challenge(self, challenge)

    def onWelcome(self, welcome):
        return self.authenticator and self.authenticator.on_welcome(self, welcome.authextra)

    def onJoin(self, details):
        self.joined.set_result({"session": details.session, "authid": details.authid, "authrole": details.authrole,
                                "authmethod": details.authmethod})

    def onLeave(self, details):
        if self.joined.done():
            say(event="left", reason=details.reason)
        else:
            self.joined.set_exception(ApplicationError(details.reason, details.message))
        self.disconnect()


class Driver:
    def __init__(self):
        self.session = None
        self.handles = {}  # of subscriptions, registrations and calls, by the command that made them
        self.released = asyncio.Event()
        self.meeting = []  # futures of the invocations that wait for others

    async def carry_out(self, c):
        try:
            say(reply=c.get("id"), ok=await getattr(self, "do_" + c["op"])(c))
        except ApplicationError as e:
            say(reply=c.get("id"), error=e.error, args=list(e.args), kwargs=e.kwargs)
        except (Exception, asyncio.CancelledError) as e:  # whatever Autobahn raises is the test's to judge
            say(reply=c.get("id"), error=type(e).__name__, args=[str(e)], kwargs={})

    async def do_join(self, c):
        session = self.session = Peer(c["realm"], c.get("auth"))
        serializer = SERIALIZERS[c["serializer"]]()
        url = urlsplit(c["url"])
        if url.scheme.startswith("rs"):
            factory = WampRawSocketClientFactory(lambda: session, serializer=serializer)
        else:
            factory = WampWebSocketClientFactory(lambda: session, url=c["url"], serializers=[serializer])
        loop = asyncio.get_running_loop()
        if url.scheme == "rs+unix":
            await loop.create_unix_connection(factory, url.path)
        else:
            await loop.create_connection(factory, url.hostname, url.port, ssl=encryption(c))
        return await session.joined

    async def do_leave(self, c):
        self.session.leave()

    async def do_subscribe(self, c):
        def handler(*args, details=None, **kwargs):
            say(event="event", topic=details.topic or c["topic"], args=list(args), kwargs=kwargs,
                retained=bool(details.retained), **{"for": c["id"]})

        options = types.SubscribeOptions(match=c.get("match", "exact"), details=True, get_retained=c.get("retained"))
        self.handles[c["id"]] = await self.session.subscribe(handler, c["topic"], options=options)

    async def do_unsubscribe(self, c):
        await self.handles[c["target"]].unsubscribe()

    async def do_publish(self, c):
        options = types.PublishOptions(acknowledge=True, **c.get("options", {}))
        await self.session.publish(c["topic"], *c.get("args", []), options=options, **c.get("kwargs", {}))

    async def do_register(self, c):
        options = types.RegisterOptions(match=c.get("match"), invoke=c.get("invoke"), details_arg="details")
        endpoint = getattr(self, "serve_" + c["kind"])
        self.handles[c["id"]] = await self.session.register(endpoint, c["procedure"], options=options)

    async def do_unregister(self, c):
        await self.handles[c["target"]].unregister()

    async def do_call(self, c):
        def progress(*args, **kwargs):
            say(event="progress", args=list(args), **{"for": c["id"]})

        options = types.CallOptions(on_progress=progress if c.get("progress") else None, timeout=c.get("timeout"))
        call = self.session.call(c["procedure"], *c.get("args", []), options=options, **c.get("kwargs", {}))
        self.handles[c["id"]] = call
        result = await call
        if isinstance(result, types.CallResult):
            return {"args": list(result.results), "kwargs": result.kwresults}
        return {"args": [] if result is None else [result], "kwargs": {}}

    async def do_cancel(self, c):
        self.handles[c["target"]].cancel()

    async def do_release(self, c):
        self.released.set()
        self.released = asyncio.Event()

    async def serve_echo(self, *args, details=None, **kwargs):
        return types.CallResult(*args, **kwargs)

    async def serve_where(self, details=None):
        return details.procedure

    async def serve_fail(self, *args, details=None, **kwargs):
        raise ApplicationError("com.example.error", *args, **kwargs)

    async def serve_slow(self, count, details=None):
        for i in range(count):
            if details.progress:
                details.progress(i)
        return count

    async def serve_hang(self, details=None):
        say(event="invoked")
        try:
            await self.released.wait()
        except asyncio.CancelledError:
            say(event="interrupted")
            raise
        return "late"

    async def serve_meet(self, count, details=None):
        here = asyncio.get_running_loop().create_future()
        self.meeting.append(here)
        if len(self.meeting) == count:
            for f in self.meeting:
                f.set_result(None)
            self.meeting.clear()
        await here
        return count


async def main():
    reader = asyncio.StreamReader(limit=1 << 24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    driver, tasks = Driver(), set()
    while line := await reader.readline():
        # Not awaited: the next command may come before this one has its answer.
        task = asyncio.ensure_future(driver.carry_out(json.loads(line, object_hook=bytes_hook)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


if __name__ == "__main__":
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(main())
