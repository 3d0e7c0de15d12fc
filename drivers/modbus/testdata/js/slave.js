// A Modbus TCP slave by jsmodbus of npm: node slave.js HOST PORT. Holding registers
// n = 1000 + n, input registers n = 2000 + n, odd coils are on.
const net = require('net');
const modbus = require('jsmodbus');

const registers = (first) => {
  const b = Buffer.alloc(200);
  for (let n = 0; n < 100; n++) b.writeUInt16BE(first + n, 2 * n);
  return b;
};
const server = new net.Server();
new modbus.server.TCP(server, {
  holding: registers(1000),
  input: registers(2000),
  coils: Buffer.alloc(16, 0xaa),
  discrete: Buffer.alloc(16, 0x55),
});
server.listen(+process.argv[3], process.argv[2]);
