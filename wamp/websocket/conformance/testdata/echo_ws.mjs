// Echo by the package ws of npm:
//
//     node echo_ws.mjs DIRECTORY serve OPTIONS
//     node echo_ws.mjs DIRECTORY drive OPTIONS URL
//
// DIRECTORY is where npm has installed ws. OPTIONS are JSON: deflates, a list of
// parameters of permessage-deflate, null for none, and sizes, of messages. serve
// starts a server for each of deflates, prints their ports in one line, and ends
// with its input. drive opens a connection for each, sends a text and a binary
// message of each size, expects them back, and prints a line, ok or what was wrong.
import { createRequire } from "node:module";

const [directory, what, text, url] = process.argv.slice(2);
const WebSocket = createRequire(directory + "/")("ws");
const { deflates, sizes } = JSON.parse(text);

const perMessageDeflate = (d) => (d ? { threshold: 0, ...d } : false);

const listen = (d) =>
  new Promise((resolve) => {
    const server = new WebSocket.Server({ port: 0, host: "127.0.0.1", perMessageDeflate: perMessageDeflate(d) }, () => resolve(server.address().port));
    server.on("connection", (socket) => {
      socket.on("message", (message, binary) => socket.send(message, { binary }));
      socket.on("error", (error) => console.error(String(error)));
    });
  });

async function serve() {
  console.log((await Promise.all(deflates.map(listen))).join(" "));
  process.stdin.resume();
  process.stdin.on("end", () => process.exit(0));
}

const messages = sizes.flatMap((n) => [
  { binary: false, data: Buffer.from("the quick brown fox ".repeat(n / 20 + 1).slice(0, n)) },
  { binary: true, data: Buffer.from(Array.from({ length: n }, (_, i) => (i * i) >> (i % 7))) },
]);

// drive returns what is wrong with one connection.
const drive = (d) =>
  new Promise((resolve) => {
    const socket = new WebSocket(url, { perMessageDeflate: perMessageDeflate(d) });
    let at = 0;
    const next = () => (at < messages.length ? socket.send(messages[at].data, { binary: messages[at].binary }) : socket.close(1000, "done"));
    socket.on("open", () => {
      if (d && !socket.extensions.includes("permessage-deflate")) resolve("no compression");
      next();
    });
    socket.on("message", (message, binary) => {
      const want = messages[at++];
      if (binary !== want.binary || !want.data.equals(message)) resolve(`message ${at}: ${message.length} octets for ${want.data.length}`);
      next();
    });
    socket.on("error", (error) => resolve(String(error)));
    socket.on("close", (code) => resolve(at === messages.length && code === 1000 ? "ok" : `closed with ${code} after ${at} messages`));
  });

if (what === "serve") {
  await serve();
} else {
  for (const d of deflates) console.log(await drive(d));
}
