// Subscribes to many topics of patterns.go at once.
//
//     node examples/wamp/pubsub/patterns.js [URL]
import autobahn from "autobahn";

// Before version 22 Node.js has no WebSocket of its own.
globalThis.WebSocket ??= (await import("ws")).default;

const url = process.argv[2] ?? "ws://127.0.0.1:8080/ws";
const connection = new autobahn.Connection({ url, realm: "gantry" });

connection.onopen = async (session) => {
  const parts = (topic) => topic.split(".").slice(3); // behind com.example.patterns
  await session.subscribe(
    "com.example.patterns...celsius",
    ([value], _, { topic }) => {
      const [room, sensor] = parts(topic);
      console.log(`${room}, sensor ${sensor}: ${value}`);
    },
    { match: "wildcard" },
  );
  await session.subscribe(
    "com.example.patterns.alarm.",
    ([text], _, { topic }) => console.log(`alarm in ${parts(topic).slice(1).join(".")}: ${text}`),
    { match: "prefix" },
  );
  console.log("ready");
};
connection.open();
