// A WAMP client on AutobahnJS or wampy.js that a test drives line by line:
//
//     node peer.js autobahn|wampy
//
// peer.py tells the commands. The two libraries are behind one face in
// autobahn.js and wampy.js; what is common to them is here.
import { createInterface } from "node:readline";

const library = await import(`./${process.argv[2]}.js`);

// plain makes JSON of what a library decoded.
function plain(value) {
  if (typeof value === "bigint") return Number(value);
  if (value instanceof Uint8Array) return { $bytes: Buffer.from(value).toString("hex") };
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, plain(v)]));
}

const revive = (_, value) => (typeof value?.$bytes === "string" ? Buffer.from(value.$bytes, "hex") : value);
const say = (message) => process.stdout.write(JSON.stringify(plain(message)) + "\n");

let session = null;
let hanging = []; // how to release the invocations that hang
let meeting = []; // how to release those that wait for others
const handles = new Map(); // of subscriptions, registrations and calls, by the command that made them

const endpoints = {
  echo: ({ args, kwargs }) => ({ args, kwargs }),
  where: ({ procedure }) => ({ args: [procedure] }),
  fail: ({ args, kwargs }) => {
    throw { error: "com.example.error", args, kwargs };
  },
  slow: ({ args: [count], progress }) => {
    for (let i = 0; i < count; i++) progress?.([i]);
    return { args: [count] };
  },
  hang: () => {
    say({ event: "invoked" });
    return new Promise((resolve) => hanging.push(() => resolve({ args: ["late"] })));
  },
  meet: ({ args: [count] }) =>
    new Promise((resolve) => {
      if (meeting.push(() => resolve({ args: [count] })) < count) return;
      for (const go of meeting.splice(0)) go();
    }),
};

const commands = {
  async join(c) {
    const joined = await library.join(c, (reason) => {
      session = null;
      say({ event: "left", reason });
    });
    session = joined.session;
    return joined.details;
  },
  leave: () => session.leave(),
  async subscribe(c) {
    handles.set(c.id, await session.subscribe(c, (event) => say({ event: "event", for: c.id, ...event })));
  },
  unsubscribe: (c) => session.unsubscribe(handles.get(c.target)),
  publish: (c) => session.publish(c),
  async register(c) {
    handles.set(c.id, await session.register(c, async (invocation) => endpoints[c.kind](invocation)));
  },
  unregister: (c) => session.unregister(handles.get(c.target)),
  call(c) {
    const call = session.call(c, (args) => say({ event: "progress", for: c.id, args }));
    handles.set(c.id, call);
    return call.result;
  },
  cancel: (c) => handles.get(c.target).cancel(c.mode),
  release() {
    for (const go of hanging.splice(0)) go();
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const c = JSON.parse(line, revive);
  // Not awaited: the next command may come before this one has its answer.
  (async () => commands[c.op](c))().then(
    (ok) => say({ reply: c.id, ok: ok ?? null }),
    (e) => say({ reply: c.id, error: e?.error ?? String(e), args: e?.args ?? [], kwargs: e?.kwargs ?? {} }),
  );
}
process.exit(0);
