// Works until the router gives the call up for cancel.go. AutobahnJS does not tell its callees.
//
//     node examples/wamp/rpc/cancel.js [URL]
import autobahn from "autobahn";

// Before version 22 Node.js has no WebSocket of its own.
globalThis.WebSocket ??= (await import("ws")).default;

const url = process.argv[2] ?? "ws://127.0.0.1:8080/ws";
const connection = new autobahn.Connection({ url, realm: "gantry" });

connection.onopen = async (session) => {
  await session.register("com.example.cancel.work", (args, kwargs, { progress }) => {
    progress(["begun"]);
    return new Promise(() => {});
  });
  console.log("ready");
};
connection.open();
