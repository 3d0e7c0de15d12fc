// All four roles at once: the backend to the frontend of beginner.go.
//
//     node examples/wamp/beginner/beginner.js [URL]
import autobahn from "autobahn";

// Before version 22 Node.js has no WebSocket of its own.
globalThis.WebSocket ??= (await import("ws")).default;

const url = process.argv[2] ?? "ws://127.0.0.1:8080/ws";
const connection = new autobahn.Connection({ url, realm: "gantry" });

connection.onopen = async (session) => {
  await session.subscribe("com.example.beginner.hello", ([name]) => console.log("hello from", name));
  await session.register("com.example.beginner.muladd", async ([a, b, c]) => {
    const sum = (await session.call("com.example.beginner.mul2", [a, b])) + c;
    console.log(`${a} * ${b} + ${c} = ${sum}`);
    session.publish("com.example.beginner.calculated", [sum]);
    return sum;
  });
  console.log("ready");
};
connection.open();
