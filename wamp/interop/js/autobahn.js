// AutobahnJS behind the face that peer.js needs.
import autobahn from "autobahn";
import { httpRequest, webSocket } from "./socket.js";

const hex = (s) => Uint8Array.from(Buffer.from(s, "hex"));

// WAMP's form of bytes in JSON, which the library leaves to its user.
function bytesToText(key, value) {
  return this[key] instanceof Uint8Array ? "\0" + Buffer.from(this[key]).toString("base64") : value;
}
const textToBytes = (_, value) =>
  typeof value === "string" && value[0] === "\0" ? Buffer.from(value.slice(1), "base64") : value;

const serializers = {
  json: () => new autobahn.serializer.JSONSerializer(bytesToText, textToBytes),
  msgpack: () => new autobahn.serializer.MsgpackSerializer(),
  cbor: () => new autobahn.serializer.CBORSerializer(),
};

function transport(url, serializer) {
  const { protocol, hostname, port, pathname } = new URL(url);
  switch (protocol) {
    case "rs:":
      return { type: "rawsocket", host: hostname, port: Number(port) };
    case "rs+unix:":
      return { type: "rawsocket", path: pathname };
    case "lp:":
    case "lps:":
      return { type: "longpoll", url: url.replace(/^lp/, "http") };
  }
  return { type: "websocket", url, serializers: [serializers[serializer]()] };
}

// credentials are the options of a connection that proves who it is.
function credentials({ method, authid, secret }) {
  const key = method === "cryptosign" ? autobahn.nacl.sign.keyPair.fromSeed(hex(secret)) : null;
  const answers = {
    ticket: () => secret,
    wampcra: ({ challenge, salt, iterations, keylen }) => {
      const derived = salt ? autobahn.auth_cra.derive_key(secret, salt, iterations, keylen) : secret;
      return autobahn.auth_cra.sign(derived, challenge);
    },
    cryptosign: (extra) => autobahn.auth_cryptosign.sign_challenge(key, extra),
  };
  return {
    authmethods: [method],
    authid,
    authextra: key ? { pubkey: autobahn.auth_cryptosign.public_key(key), channel_binding: null } : {},
    onchallenge: (_, asked, extra) => answers[asked](extra),
  };
}

// unpack undoes what AutobahnJS does to results of less than two arguments.
function unpack(result) {
  if (result instanceof autobahn.Result) return { args: result.args, kwargs: result.kwargs };
  return { args: result === null ? [] : [result], kwargs: {} };
}

export function join(c, left) {
  const { url, realm, serializer, auth } = c;
  // AutobahnJS takes them from there: a browser has both, Node a WebSocket from
  // version 22 on.
  globalThis.WebSocket = webSocket(c);
  globalThis.XMLHttpRequest = httpRequest(c);
  return new Promise((resolve, reject) => {
    const connection = new autobahn.Connection({
      realm,
      max_retries: 0,
      transports: [transport(url, serializer)],
      on_user_error: () => {}, // errors of endpoints are on purpose
      ...(auth ? credentials(auth) : {}),
    });
    let joined = false;
    connection.onopen = (session, { authid, authrole, authmethod }) => {
      joined = true;
      resolve({ session: face(connection, session), details: { session: session.id, authid, authrole, authmethod } });
    };
    connection.onclose = (how, { reason, message }) => {
      if (joined) left(reason);
      else reject({ error: reason ?? how, args: [message] });
    };
    connection.open();
  });
}

const face = (connection, session) => ({
  leave: () => connection.close(),
  subscribe: (c, onEvent) =>
    session.subscribe(
      c.topic,
      (args, kwargs, { topic, retained }) => onEvent({ topic, args, kwargs, retained }),
      { match: c.match ?? "exact", ...(c.retained ? { get_retained: true } : {}) },
    ),
  unsubscribe: (subscription) => session.unsubscribe(subscription),
  async publish({ topic, args, kwargs, options }) {
    await session.publish(topic, args, kwargs, { acknowledge: true, ...options });
  },
  register: (c, endpoint) =>
    session.register(
      c.procedure,
      async (args, kwargs, { procedure, progress }) => {
        try {
          const result = await endpoint({ args, kwargs, procedure, progress });
          return new autobahn.Result(result.args, result.kwargs);
        } catch (e) {
          throw new autobahn.Error(e.error, e.args, e.kwargs);
        }
      },
      { match: c.match ?? "exact", invoke: c.invoke ?? "single" },
    ),
  unregister: (registration) => session.unregister(registration),
  call(c, onProgress) {
    const options = { ...(c.progress ? { receive_progress: true } : {}), ...(c.timeout ? { timeout: c.timeout } : {}) };
    const promise = session.call(c.procedure, c.args, c.kwargs, options);
    return {
      result: promise.then(unpack, undefined, (result) => onProgress(unpack(result).args)),
      cancel: (mode) => promise.cancel({ mode }),
    };
  },
});
