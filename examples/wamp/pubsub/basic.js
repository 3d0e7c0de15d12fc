// Subscribes to what basic.go publishes.
//
//     node examples/wamp/pubsub/basic.js [URL]
import autobahn from "autobahn";

// Before version 22 Node.js has no WebSocket of its own.
globalThis.WebSocket ??= (await import("ws")).default;

const url = process.argv[2] ?? "ws://127.0.0.1:8080/ws";
const connection = new autobahn.Connection({ url, realm: "gantry" });

connection.onopen = async (session) => {
  await session.subscribe("com.example.basic.counter", ([n]) => console.log("event", n));
  console.log("ready");
};
connection.open();
