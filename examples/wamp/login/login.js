// Logs in by every method that AutobahnJS has: see login.go.
//
//     node examples/wamp/login/login.js URL anonymous|ticket|wampcra|cryptosign|cookie
//     node examples/wamp/login/login.js URL tls CA CERT KEY       (files in PEM)
import autobahn from "autobahn";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import WebSocket from "ws";

const [url, method, ...files] = process.argv.slice(2);
const [ca, cert, key] = files.map((file) => readFileSync(file));

// base32 writes 20 bytes as the gateway's cookies are written.
const base32 = (bytes) =>
  [...bytes].map((b) => b.toString(2).padStart(8, "0")).join("").match(/.{5}/g)
    .map((bits) => "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[parseInt(bits, 2)]).join("");
const cookie = "gantry=" + base32(randomBytes(20));

// Browsers show certificates by themselves, and get and send cookies.
globalThis.WebSocket = class extends WebSocket {
  constructor(url, protocols) {
    super(url, protocols, { ca, cert, key, headers: { cookie } });
  }
};

const secret = "secret123";
const seed = "1234567812345678123456781234567812345678123456781234567812345678";
const pair = autobahn.nacl.sign.keyPair.fromSeed(Uint8Array.from(Buffer.from(seed, "hex")));

const proofs = {
  ticket: { authid: "joe", onchallenge: () => secret },
  wampcra: {
    authid: "joe",
    onchallenge(session, method, { challenge, salt, iterations, keylen }) {
      const key = salt ? autobahn.auth_cra.derive_key(secret, salt, iterations, keylen) : secret;
      return autobahn.auth_cra.sign(key, challenge);
    },
  },
  cryptosign: {
    authid: "kim",
    authextra: { pubkey: autobahn.auth_cryptosign.public_key(pair) },
    onchallenge: (session, method, extra) => autobahn.auth_cryptosign.sign_challenge(pair, extra),
  },
};

// login joins, tells as whom the router has admitted it, and leaves.
const login = (method) =>
  new Promise((done) => {
    const connection = new autobahn.Connection({ url, realm: "gantry", authmethods: [method], ...proofs[method] });
    connection.onopen = (session, { authid, authrole, authmethod }) => {
      console.log(`${authid}, role ${authrole}, by ${authmethod}`);
      connection.close();
    };
    connection.onclose = (how, { reason, message }) => {
      if (reason !== "wamp.close.goodbye_and_out") console.log("refused:", reason ?? how, message ?? "");
      done();
      return true; // do not try again
    };
    connection.open();
  });

// A cookie counts for whoever has logged in with it before.
if (method === "cookie") await login("ticket");
await login(method);
