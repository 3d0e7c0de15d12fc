// Publishes what history.go asks for later.
//
//     node examples/wamp/pubsub/history.js [URL]
import autobahn from "autobahn";

// Before version 22 Node.js has no WebSocket of its own.
globalThis.WebSocket ??= (await import("ws")).default;

const url = process.argv[2] ?? "ws://127.0.0.1:8080/ws";
const connection = new autobahn.Connection({ url, realm: "gantry" });

connection.onopen = async (session) => {
  for (const celsius of [20.5, 21.5, 22.5]) {
    await session.publish("com.example.history.temperature", [celsius], {}, { acknowledge: true });
  }
  console.log("ready");
};
connection.open();
