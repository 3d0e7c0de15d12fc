// Tells timeservice.go the time.
//
//     node examples/wamp/rpc/timeservice.js [URL]
import autobahn from "autobahn";

// Before version 22 Node.js has no WebSocket of its own.
globalThis.WebSocket ??= (await import("ws")).default;

const url = process.argv[2] ?? "ws://127.0.0.1:8080/ws";
const connection = new autobahn.Connection({ url, realm: "gantry" });

connection.onopen = async (session) => {
  await session.register("com.example.timeservice.now", () => new Date().toISOString().replace(/\.\d+/, ""));
  console.log("ready");
};
connection.open();
