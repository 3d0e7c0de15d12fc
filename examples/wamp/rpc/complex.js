// Returns results with several values to complex.go.
//
//     node examples/wamp/rpc/complex.js [URL]
import autobahn from "autobahn";

// Before version 22 Node.js has no WebSocket of its own.
globalThis.WebSocket ??= (await import("ws")).default;

const url = process.argv[2] ?? "ws://127.0.0.1:8080/ws";
const connection = new autobahn.Connection({ url, realm: "gantry" });

connection.onopen = async (session) => {
  await session.register("com.example.complex.add", ([a, ai, b, bi]) => new autobahn.Result([], { c: a + b, ci: ai + bi }));
  await session.register("com.example.complex.split_name", ([name]) => new autobahn.Result(name.split(" ")));
  console.log("ready");
};
connection.open();
