// Answers the second call of slowsquare.go first, and the slow one when somebody is in a hurry.
//
//     node examples/wamp/rpc/slowsquare.js [URL]
import autobahn from "autobahn";

// Before version 22 Node.js has no WebSocket of its own.
globalThis.WebSocket ??= (await import("ws")).default;

const url = process.argv[2] ?? "ws://127.0.0.1:8080/ws";
const connection = new autobahn.Connection({ url, realm: "gantry" });

connection.onopen = async (session) => {
  let finish;
  const hurry = new Promise((resolve) => (finish = resolve));
  await session.subscribe("com.example.slowsquare.hurry", () => finish());
  await session.register("com.example.slowsquare.slow", async ([x]) => {
    await hurry;
    return x * x;
  });
  await session.register("com.example.slowsquare.quick", ([x]) => x * x);
  console.log("ready");
};
connection.open();
