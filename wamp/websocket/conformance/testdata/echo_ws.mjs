// Echo by the package ws of npm:
//
//     node echo_ws.mjs DIRECTORY OPTIONS URL
//
// DIRECTORY is where npm has installed ws. OPTIONS are JSON: serve and drive, lists
// of parameters of permessage-deflate, null for none, and sizes, of messages. It
// starts an echo server for each of serve and prints their ports in one line. Then
// it connects to the echo at URL for each of drive, sends a text and a binary message
// of each size, expects them back, and prints a line, ok or what was wrong. It ends
// with its input.
import { createRequire } from "node:module";

const [directory, text, url] = process.argv.slice(2);
const WebSocket = createRequire(directory + "/")("ws");
const options = JSON.parse(text);

const perMessageDeflate = (d) => (d ? { threshold: 0, ...d } : false);

const listen = (d) =>
  new Promise((resolve) => {
    const server = new WebSocket.Server({ port: 0, host: "127.0.0.1", perMessageDeflate: perMessageDeflate(d) }, () => resolve(server.address().port));
    server.on("connection", (socket) => {
      socket.on("message", (message, binary) => socket.send(message, { binary }));
      socket.on("error", (error) => console.error(String(error)));
    });
  });

const messages = options.sizes.flatMap((n) => [
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

console.log((await Promise.all(options.serve.map(listen))).join(" "));
for (const d of options.drive) console.log(await drive(d));
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
