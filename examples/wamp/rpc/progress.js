// Tells progress.go how far it has come.
//
//     node examples/wamp/rpc/progress.js [URL]
import autobahn from "autobahn";

// Before version 22 Node.js has no WebSocket of its own.
globalThis.WebSocket ??= (await import("ws")).default;

const url = process.argv[2] ?? "ws://127.0.0.1:8080/ws";
const connection = new autobahn.Connection({ url, realm: "gantry" });

connection.onopen = async (session) => {
  await session.register("com.example.progress.count", ([n], kwargs, { progress }) => {
    // Not every caller wants to know.
    for (let i = 0; i < n; i++) progress?.([i]);
    return n;
  });
  console.log("ready");
};
connection.open();
