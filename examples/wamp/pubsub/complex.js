// Subscribes to events with several values, and with none, of complex.go.
//
//     node examples/wamp/pubsub/complex.js [URL]
import autobahn from "autobahn";

// Before version 22 Node.js has no WebSocket of its own.
globalThis.WebSocket ??= (await import("ws")).default;

const url = process.argv[2] ?? "ws://127.0.0.1:8080/ws";
const connection = new autobahn.Connection({ url, realm: "gantry" });

connection.onopen = async (session) => {
  await session.subscribe("com.example.complex.reading", ([value], { unit, tags = [] }) =>
    console.log(`reading ${value} ${unit} [${tags.join(" ")}]`),
  );
  await session.subscribe("com.example.complex.heartbeat", () => console.log("heartbeat"));
  console.log("ready");
};
connection.open();
