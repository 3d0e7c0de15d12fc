// Logs in by every method that AutobahnJS has: see login.go.
//
//     node examples/wamp/login/login.js URL anonymous|ticket|wampcra|cryptosign
//     node examples/wamp/login/login.js URL tls CA CERT KEY       (files in PEM)
import autobahn from "autobahn";
import { readFileSync } from "node:fs";
import WebSocket from "ws";

const [url, method, ...files] = process.argv.slice(2);
const [ca, cert, key] = files.map((file) => readFileSync(file));

// Browsers show certificates by themselves, and send cookies, too.
globalThis.WebSocket = class extends WebSocket {
  constructor(url, protocols) {
    super(url, protocols, { ca, cert, key });
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

const connection = new autobahn.Connection({ url, realm: "gantry", authmethods: [method], ...proofs[method] });
connection.onopen = (session, { authid, authrole, authmethod }) => {
  console.log(`${authid}, role ${authrole}, by ${authmethod}`);
  connection.close();
};
connection.open();
