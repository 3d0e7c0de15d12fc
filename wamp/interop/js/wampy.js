// wampy.js behind the face that peer.js needs.
import nacl from "tweetnacl";
import { Wampy } from "wampy";
import { CborSerializer } from "wampy/CborSerializer.js";
import { sign as cryptosign } from "wampy/cryptosign.js";
import { JsonSerializer } from "wampy/JsonSerializer.js";
import { MsgpackSerializer } from "wampy/MsgpackSerializer.js";
import { sign as wampcra } from "wampy/wampcra.js";
import { webSocket } from "./socket.js";

const serializers = { json: JsonSerializer, msgpack: MsgpackSerializer, cbor: CborSerializer };

// publicKey is that of the seed of a private key, both in hex.
const publicKey = (seed) =>
  Buffer.from(nacl.sign.keyPair.fromSeed(Buffer.from(seed, "hex")).publicKey).toString("hex");

// credentials are the options of a client that proves who it is.
function credentials({ method, authid, secret }) {
  const answers = { ticket: () => () => secret, wampcra, cryptosign, tls: () => () => "" };
  return {
    authid,
    authmethods: [method],
    authextra: method === "cryptosign" ? { pubkey: publicKey(secret) } : {},
    authMode: "auto",
    authPlugins: { [method]: answers[method](secret) },
  };
}

const failure = (e) => ({
  error: e.errorUri ?? String(e),
  args: e.argsList ?? [e.details?.message],
  kwargs: e.argsDict ?? {},
});

export async function join(c, left) {
  const { url, realm, serializer, auth } = c;
  let joined = false;
  const client = new Wampy(url, {
    realm,
    ws: webSocket(c),
    serializer: new serializers[serializer](),
    autoReconnect: false,
    onClose: () => joined && left(null),
    ...(auth ? credentials(auth) : {}),
  });
  const { authid, authrole, authmethod } = await client.connect().catch((e) => Promise.reject(failure(e)));
  joined = true;
  return { session: face(client), details: { session: client.getSessionId(), authid, authrole, authmethod } };
}

// given leaves out what is not there: wampy.js would send it as undefined.
const given = (options) => Object.fromEntries(Object.entries(options).filter(([, v]) => v !== undefined));

const face = (client) => ({
  leave: () => client.disconnect(),
  async subscribe(c, onEvent) {
    const options = given({ match: c.match, get_retained: c.retained });
    const { subscriptionId } = await client.subscribe(
      c.topic,
      ({ details, argsList, argsDict }) =>
        onEvent({
          topic: details.topic ?? c.topic,
          args: argsList ?? [],
          kwargs: argsDict ?? {},
          retained: details.retained ?? false,
        }),
      // With options, even empty ones, wampy.js cannot unsubscribe.
      Object.keys(options).length > 0 ? options : undefined,
    );
    return subscriptionId;
  },
  async unsubscribe(id) {
    await client.unsubscribe(id);
  },
  async publish({ topic, args, kwargs, options }) {
    await client.publish(topic, { argsList: args, argsDict: kwargs }, options).catch((e) => Promise.reject(failure(e)));
  },
  async register(c, endpoint) {
    const called = async ({ details, argsList, argsDict, result_handler }) => {
      const progress = (args) => result_handler({ options: { progress: true }, argsList: args });
      try {
        const { args, kwargs } = await endpoint({
          args: argsList ?? [],
          kwargs: argsDict ?? {},
          procedure: details.procedure ?? c.procedure,
          progress: details.receive_progress ? progress : undefined,
        });
        return { argsList: args, argsDict: kwargs };
      } catch ({ error, args, kwargs }) {
        throw { error, argsList: args, argsDict: kwargs };
      }
    };
    await client
      .register(c.procedure, called, given({ match: c.match, invoke: c.invoke }))
      .catch((e) => Promise.reject(failure(e)));
    return c.procedure;
  },
  async unregister(procedure) {
    await client.unregister(procedure);
  },
  call(c, onProgress) {
    const options = given({
      timeout: c.timeout,
      progress_callback: c.progress ? ({ argsList }) => onProgress(argsList) : undefined,
    });
    const promise = client.call(c.procedure, { argsList: c.args, argsDict: c.kwargs }, options);
    const { reqId } = client.getOpStatus();
    return {
      result: promise.then(
        ({ argsList, argsDict }) => ({ args: argsList ?? [], kwargs: argsDict ?? {} }),
        (e) => Promise.reject(failure(e)),
      ),
      cancel(mode) {
        client.cancel(reqId, given({ mode }));
      },
    };
  },
});
