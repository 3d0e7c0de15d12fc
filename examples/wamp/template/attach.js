// The shop that attach.go delivers to.
//
//     node examples/wamp/template/attach.js [URL]
import autobahn from "autobahn";

// Before version 22 Node.js has no WebSocket of its own.
globalThis.WebSocket ??= (await import("ws")).default;

const url = process.argv[2] ?? "ws://127.0.0.1:8080/ws";
const connection = new autobahn.Connection({ url, realm: "gantry" });

connection.onopen = async (session) => {
  const stock = {};
  const product = (uri) => uri.split(".")[3];
  await session.register(
    "com.example.attach..deliver",
    ([pieces], kwargs, { procedure }) => {
      const id = product(procedure);
      return (stock[id] = (stock[id] ?? 0) + pieces);
    },
    { match: "wildcard" },
  );
  await session.subscribe(
    "com.example.attach..priced",
    ([euro], kwargs, { topic }) => console.log(`product ${product(topic)} costs ${euro}`),
    { match: "wildcard" },
  );
  console.log("ready");
};
connection.open();
