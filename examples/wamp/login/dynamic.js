// Knows the users of a gateway whose configuration does not: see dynamic.toml.
//
//     node examples/wamp/login/dynamic.js [URL]
import autobahn from "autobahn";

// Before version 22 Node.js has no WebSocket of its own.
globalThis.WebSocket ??= (await import("ws")).default;

const url = process.argv[2] ?? "ws://127.0.0.1:8080/ws";
const connection = new autobahn.Connection({ url, realm: "gantry" });

connection.onopen = async (session) => {
  const accounts = { ann: { role: "operator", password: "secret123" } };
  await session.register("com.example.dynamic.find", ([realm, authid]) => {
    console.log("asked for", authid);
    return accounts[authid] ?? null; // null: there is no such user
  });
  console.log("ready");
};
connection.open();
