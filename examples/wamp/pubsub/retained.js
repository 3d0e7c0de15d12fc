// Has the router keep the last value for retained.go, which comes later.
//
//     node examples/wamp/pubsub/retained.js [URL]
import autobahn from "autobahn";

// Before version 22 Node.js has no WebSocket of its own.
globalThis.WebSocket ??= (await import("ws")).default;

const url = process.argv[2] ?? "ws://127.0.0.1:8080/ws";
const connection = new autobahn.Connection({ url, realm: "gantry" });

connection.onopen = async (session) => {
  for (const state of ["open", "shut"]) {
    await session.publish("com.example.retained.door", [state], {}, { acknowledge: true, retain: true });
  }
  console.log("ready");
};
connection.open();
