// The thermostat of device.py on Node's http, with answers in pieces.
'use strict'
const http = require('http')
const state = { temperature: 21.5, target: 20, text: 'grün' }
const allowed = 'Basic ' + Buffer.from('me:secret word').toString('base64')

const server = http.createServer((req, res) => {
  let body = ''
  req.on('data', (piece) => { body += piece })
  req.on('end', () => {
    const answer = (status, value) => {
      res.writeHead(status, { 'Content-Type': 'application/json' })
      const text = JSON.stringify(value)
      res.write(text.slice(0, 5))
      setImmediate(() => res.end(text.slice(5)))
    }
    if (req.headers.authorization !== allowed) return answer(401, 'who are you?')
    if (req.method === 'GET') return req.url === '/state' ? answer(200, state) : answer(404, 'no such page')
    const value = JSON.parse(body)
    if (value.target < 5 || value.target > 30) return answer(422, 'out of range')
    state.target = value.target
    answer(200, { now: state })
  })
})
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
