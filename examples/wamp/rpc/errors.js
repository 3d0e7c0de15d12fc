// Fails in the three ways that errors.go tells apart.
//
//     node examples/wamp/rpc/errors.js [URL]
import autobahn from "autobahn";

// Before version 22 Node.js has no WebSocket of its own.
globalThis.WebSocket ??= (await import("ws")).default;

const url = process.argv[2] ?? "ws://127.0.0.1:8080/ws";
const connection = new autobahn.Connection({ url, realm: "gantry" });

connection.onopen = async (session) => {
  await session.register("com.example.errors.sqrt", ([x]) => {
    if (x < 0) throw new autobahn.Error("com.example.errors.negative", ["there is no root of a negative number"]);
    return Math.sqrt(x);
  });
  await session.register("com.example.errors.checkname", ([name]) => {
    if (name.length > 8) throw new autobahn.Error("com.example.errors.too_long", [name], { max: 8 });
  });
  // Whatever else is thrown is the argument of a wamp.error.runtime_error.
  await session.register("com.example.errors.print", () => {
    throw "out of paper";
  });
  console.log("ready");
};
connection.open();
