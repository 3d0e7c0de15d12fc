// Takes the arguments of arguments.go in all the ways there are.
//
//     node examples/wamp/rpc/arguments.js [URL]
import autobahn from "autobahn";

// Before version 22 Node.js has no WebSocket of its own.
globalThis.WebSocket ??= (await import("ws")).default;

const url = process.argv[2] ?? "ws://127.0.0.1:8080/ws";
const connection = new autobahn.Connection({ url, realm: "gantry" });

connection.onopen = async (session) => {
  const serve = (name, endpoint) => session.register("com.example.arguments." + name, endpoint);
  await serve("ping", () => "pong");
  await serve("add2", ([a, b]) => {
    if (typeof a !== "number" || typeof b !== "number") {
      throw new autobahn.Error("wamp.error.invalid_argument", ["two numbers expected"]);
    }
    return a + b;
  });
  // Without keyword arguments there is no kwargs.
  await serve("stars", (args, kwargs) => `${kwargs?.nick ?? "somebody"} starred ${kwargs?.stars ?? 0}x`);
  await serve("orders", ([product], kwargs) => [1, 2, 3].slice(0, kwargs?.limit).map((n) => `${product} ${n}`));
  await serve("arglen", (args, kwargs) => [args?.length ?? 0, Object.keys(kwargs ?? {}).length]);
  console.log("ready");
};
connection.open();
