// What the scripts of this folder have in common: clients of MQTT.js that wait for what
// they expect, and cases of which a line of JSON tells.
import assert from 'node:assert/strict'
import mqtt from 'mqtt'

export const [url, level] = process.argv.slice(2)
const version = Number(level ?? 5) // 4 = MQTT 3.1.1, 5 = MQTT 5
export const five = version === 5
const patience = 20000
let clients = []
let ids = 0

export const within = (promise, what) => {
  let timer
  const late = new Promise((_resolve, reject) => { timer = setTimeout(() => reject(new Error(`not within ${patience} ms: ${what}`)), patience) })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}
export const event = (client, name) => within(new Promise((resolve) => client.once(name, (...args) => resolve(args))), name)

// Peer is a client with what it has received.
class Peer {
  constructor (client) {
    this.client = client
    this.inbox = []
    client.on('message', (topic, payload, packet) => {
      this.inbox.push({ topic, payload, text: payload.toString(), packet })
      this.wake?.()
    })
  }

  async next () {
    if (this.inbox.length === 0) await within(new Promise((resolve) => { this.wake = resolve }), 'a message')
    return this.inbox.shift()
  }

  async expect (topic, text, qos) {
    const m = await this.next()
    assert.deepEqual([m.topic, m.text, m.packet.qos], [topic, text, qos])
    return m.packet
  }

  // quiet proves that there is nothing before what is published now.
  async quiet () {
    const topic = `quiet/${ids++}`
    await this.subscribe(topic, { qos: 1 })
    await this.publish(topic, '.', { qos: 1 })
    await this.expect(topic, '.', 1)
  }

  subscribe (topic, options = { qos: 0 }) { return within(this.client.subscribeAsync(topic, options), `SUBACK for ${topic}`) }
  unsubscribe (topic) { return within(this.client.unsubscribeAsync(topic), `UNSUBACK for ${topic}`) }
  publish (topic, text, options = { qos: 0 }) { return within(this.client.publishAsync(topic, text, options), `acknowledgement for ${topic}`) }
  end (force = false) { return within(this.client.endAsync(force), 'end') }
}

export async function connect (options = {}) {
  const client = mqtt.connect(url, { protocolVersion: version, clientId: `js${ids++}`, reconnectPeriod: 0, connectTimeout: patience, ...options })
  clients.push(client)
  client.on('error', () => {}) // the case is told by its promises
  const peer = new Peer(client)
  const [connack] = await event(client, 'connect')
  peer.connack = connack
  return peer
}

// cut ends a connection as a network does, and waits until MQTT.js is there again.
export async function cut (peer, meanwhile = async () => {}) {
  const { client } = peer
  const period = client.options.reconnectPeriod
  client.options.reconnectPeriod = 0
  const closed = event(client, 'close')
  client.stream.destroy()
  await closed
  await meanwhile()
  client.options.reconnectPeriod = period
  const again = event(client, 'connect')
  client.reconnect({ incomingStore: client.incomingStore, outgoingStore: client.outgoingStore }) // it would forget them
  const [connack] = await again
  return connack
}

// run runs cases, each a function, and tells of them.
export async function run (cases) {
  for (const [name, body] of Object.entries(cases)) {
    const line = { name }
    try {
      await body()
    } catch (err) {
      line.error = String(err.stack ?? err)
    }
    for (const client of clients) client.end(true)
    clients = []
    console.log(JSON.stringify(line))
  }
}
