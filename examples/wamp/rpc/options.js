// Registers with the options that options.go makes use of.
//
//     node examples/wamp/rpc/options.js [URL]
import autobahn from "autobahn";

// Before version 22 Node.js has no WebSocket of its own.
globalThis.WebSocket ??= (await import("ws")).default;

const url = process.argv[2] ?? "ws://127.0.0.1:8080/ws";
const connection = new autobahn.Connection({ url, realm: "gantry" });

connection.onopen = async (session) => {
  // Who calls is told to this procedure only.
  await session.register("com.example.options.whoami", (args, kwargs, { caller }) => caller, { disclose_caller: true });
  // One registration for the lights of all rooms.
  await session.register("com.example.options..light", ([on], kwargs, { procedure }) => `${procedure}: ${on}`, {
    match: "wildcard",
  });
  // Never answers. One call at a time: others are told that it is busy.
  await session.register("com.example.options.stuck", () => new Promise(() => {}), { concurrency: 1 });
  console.log("ready");
};
connection.open();
