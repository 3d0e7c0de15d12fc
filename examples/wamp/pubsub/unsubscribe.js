// Publishes a tick whenever unsubscribe.go asks for one.
//
//     node examples/wamp/pubsub/unsubscribe.js [URL]
import autobahn from "autobahn";

// Before version 22 Node.js has no WebSocket of its own.
globalThis.WebSocket ??= (await import("ws")).default;

const url = process.argv[2] ?? "ws://127.0.0.1:8080/ws";
const connection = new autobahn.Connection({ url, realm: "gantry" });

connection.onopen = async (session) => {
  let ticks = 0;
  await session.register("com.example.unsubscribe.next", () => {
    session.publish("com.example.unsubscribe.tick", [++ticks]);
    return ticks;
  });
  console.log("ready");
};
connection.open();
