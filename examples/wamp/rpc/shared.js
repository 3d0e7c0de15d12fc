// Shares a procedure with shared.go: calls go to one after the other.
//
//     node examples/wamp/rpc/shared.js [URL]
import autobahn from "autobahn";

// Before version 22 Node.js has no WebSocket of its own.
globalThis.WebSocket ??= (await import("ws")).default;

const url = process.argv[2] ?? "ws://127.0.0.1:8080/ws";
const connection = new autobahn.Connection({ url, realm: "gantry" });

connection.onopen = async (session) => {
  await session.register("com.example.shared.work", () => "backend", { invoke: "roundrobin" });
  console.log("ready");
};
connection.open();
