// The thermostat of device.py on the library ws, with compression offered.
'use strict'
const { WebSocket, WebSocketServer } = require('ws')

function talk (ws) {
  const send = (value) => ws.send(JSON.stringify(value))
  ws.on('message', (text) => {
    const message = JSON.parse(text)
    const answer = { id: message.id }
    if ('set' in message && !(message.set >= 5 && message.set <= 30)) answer.error = 'out of range'
    else if ('set' in message) answer.result = message.set
    else if (message.do === 'count') {
      for (let i = 0; i < message.to; i++) send({ type: 'count', n: i })
      answer.result = 'counted'
    } else answer.result = message
    send(answer)
  })
  send({ type: 'state', t: 21.5, text: 'grün' })
}

const [mode, url, token] = process.argv.slice(2)
if (mode === 'dial') {
  const ws = new WebSocket(url, { headers: { Authorization: 'Bearer ' + token } })
  ws.on('open', () => talk(ws))
} else {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' }, () => console.log(server.address().port))
  server.on('connection', talk)
}
