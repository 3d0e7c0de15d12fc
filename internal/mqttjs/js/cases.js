// What MQTT.js, as an application uses it, expects of a server:
//   node cases.js URL VERSION      4 = MQTT 3.1.1, 5 = MQTT 5
// The server refuses the topics below forbidden/.
import assert from 'node:assert/strict'
import { connect, cut, event, five, run, within } from './peer.js'

const kept = (clientId) => ({ clientId, clean: false, reconnectPeriod: 50, resubscribe: false, properties: five ? { sessionExpiryInterval: 100 } : undefined })

const cases = {
  async 'every QoS, bytes as they are' () {
    const a = await connect()
    const b = await connect()
    const bytes = Buffer.from([0, 255, 1, 128])
    for (const qos of [0, 1, 2]) {
      const granted = await b.subscribe(`qos/${qos}/#`, { qos })
      assert.deepEqual([granted[0].qos, granted[0].topic], [qos, `qos/${qos}/#`])
      await a.publish(`qos/${qos}/Küche`, bytes, { qos })
      const m = await b.next()
      assert.deepEqual([m.topic, m.payload, m.packet.qos, m.packet.dup], [`qos/${qos}/Küche`, bytes, qos, false])
      await a.publish(`qos/${qos}`, '', { qos })
      await b.expect(`qos/${qos}`, '', qos)
    }
    await b.quiet()
  },

  async 'a thousand messages at each QoS come in their order' () {
    const a = await connect()
    const b = await connect(five ? { properties: { receiveMaximum: 7 } } : {})
    for (const qos of [1, 2]) {
      await b.subscribe(`many/${qos}`, { qos })
      const sent = []
      for (let i = 0; i < 1000; i++) sent.push(a.publish(`many/${qos}`, String(i), { qos }))
      for (let i = 0; i < 1000; i++) await b.expect(`many/${qos}`, String(i), qos)
      await Promise.all(sent)
    }
    await b.quiet()
  },

  async 'wildcards, and what is given up' () {
    const a = await connect()
    await a.subscribe({ 'wild/+/x': { qos: 0 }, 'wild/deep/#': { qos: 1 } })
    await a.publish('wild/1/x', 'one')
    await a.expect('wild/1/x', 'one', 0)
    await a.publish('wild/deep', 'parent')
    await a.expect('wild/deep', 'parent', 1)
    await a.publish('wild/1/y', 'nobody')
    await a.unsubscribe(['wild/+/x', 'wild/deep/#'])
    await a.publish('wild/1/x', 'nobody')
    await a.quiet()
  },

  async 'retained messages' () {
    const a = await connect()
    await a.publish('kept/1', 'one', { qos: 1, retain: true })
    await a.publish('kept/2', 'two', { qos: 1, retain: true })
    await a.publish('kept/2', '', { qos: 1, retain: true })
    const b = await connect()
    await b.subscribe('kept/+', { qos: 1 })
    assert.equal((await b.expect('kept/1', 'one', 1)).retain, true)
    await a.publish('kept/1', 'live', { qos: 1, retain: true })
    assert.equal((await b.expect('kept/1', 'live', 1)).retain, false)
    await b.quiet()
    if (!five) return
    const c = await connect()
    await c.subscribe('kept/1', { qos: 0, rh: 2 })
    await c.quiet()
    await c.subscribe('kept/1', { qos: 0, rh: 0, rap: true })
    await c.expect('kept/1', 'live', 0)
    await a.publish('kept/1', 'as published', { qos: 1, retain: true })
    assert.equal((await c.expect('kept/1', 'as published', 0)).retain, true)
  },

  async 'a will comes when the connection breaks, and not at an orderly end' () {
    const watch = await connect()
    await watch.subscribe('will/#', { qos: 1 })
    const will = (topic) => ({ will: { topic, payload: Buffer.from('gone'), qos: 1, retain: true, properties: five ? { contentType: 'text/plain' } : undefined } })
    const polite = await connect(will('will/polite'))
    await polite.end()
    const lost = await connect(will('will/lost'))
    lost.client.stream.destroy()
    const packet = await watch.expect('will/lost', 'gone', 1)
    if (five) assert.equal(packet.properties.contentType, 'text/plain')
    await watch.quiet()
    const late = await connect()
    await late.subscribe('will/#', { qos: 1 })
    assert.equal((await late.expect('will/lost', 'gone', 1)).retain, true)
    await late.publish('will/lost', '', { retain: true, qos: 1 })
  },

  async 'a session is kept over a reconnect' () {
    const a = await connect()
    const b = await connect(kept('js-kept'))
    assert.equal(b.connack.sessionPresent, false)
    await b.subscribe({ 'session/1': { qos: 1 }, 'session/2': { qos: 2 } })
    const again = await cut(b, async () => {
      for (let i = 0; i < 20; i++) await a.publish(`session/${1 + i % 2}`, String(i), { qos: 1 })
    })
    assert.equal(again.sessionPresent, true)
    // MQTT.js hands a message at QoS 2 on when its PUBREL has come.
    const got = [[], []]
    for (let i = 0; i < 20; i++) {
      const m = await b.next()
      assert.equal(m.topic, `session/${m.packet.qos}`)
      got[m.packet.qos - 1].push(Number(m.text))
    }
    const all = [...Array(20).keys()]
    assert.deepEqual(got, [all.filter((n) => n % 2 === 0), all.filter((n) => n % 2 === 1)])
    await b.quiet()
    await b.end()
    const clean = await connect({ clientId: 'js-kept' })
    assert.equal(clean.connack.sessionPresent, false)
    await a.publish('session/1', 'to nobody', { qos: 1 })
    await clean.quiet()
  },

  async 'what was not acknowledged is sent again, and at QoS 2 arrives once' () {
    const a = await connect(kept('js-sender'))
    const b = await connect()
    await b.subscribe('again', { qos: 2 })
    let recs = 0
    const taken = within(new Promise((resolve) => a.client.on('packetreceive', (p) => p.cmd === 'pubrec' && ++recs === 10 && resolve())), 'PUBREC')
    const sent = []
    for (let i = 0; i < 50; i++) sent.push(a.publish('again', String(i), { qos: 2 }))
    await taken // others are in the middle of their handshakes
    await Promise.all([cut(a), ...sent])
    const seen = []
    for (let i = 0; i < 50; i++) seen.push(Number((await b.next()).text))
    assert.deepEqual(seen.sort((x, y) => x - y), [...Array(50).keys()])
    await b.quiet()
    await a.end()
  },

  async 'a client id is taken over' () {
    const a = await connect({ clientId: 'js-same' })
    const told = five ? event(a.client, 'disconnect') : null
    const closed = event(a.client, 'close')
    const b = await connect({ clientId: 'js-same' })
    if (five) assert.equal((await told)[0].reasonCode, 0x8e)
    await closed
    await b.quiet()
  },

  async 'each message of a shared subscription goes to one' () {
    const members = [await connect(), await connect()]
    for (const m of members) await m.subscribe('$share/crew/job/#', { qos: 1 })
    const a = await connect()
    for (let i = 0; i < 20; i++) await a.publish('job/x', String(i), { qos: 1 })
    const got = []
    for (const m of members) {
      // What is published last is the end of what has come.
      await m.subscribe('job-end', { qos: 1 })
      await m.publish('job-end', '', { qos: 1 })
      const own = []
      for (let next = await m.next(); next.topic !== 'job-end'; next = await m.next()) own.push(Number(next.text))
      assert.ok(own.length > 0, 'a member has got nothing')
      await m.unsubscribe('job-end')
      got.push(...own)
    }
    assert.deepEqual(got.sort((x, y) => x - y), [...Array(20).keys()])
  },

  async 'what the rules refuse' () {
    const a = await connect()
    for (const qos of [1, 2]) {
      const sent = a.publish('forbidden/x', '', { qos })
      if (five) await assert.rejects(sent, { code: 0x87 })
      else await sent // MQTT-3.3.5-2
    }
    await assert.rejects(a.subscribe('forbidden/x'), (err) => err.packet.granted[0] === (five ? 0x87 : 0x80))
    await a.quiet()
  }
}

const casesOfFive = {
  async 'a client without an id is given one' () {
    const a = await connect({ clientId: '' })
    assert.match(a.connack.properties.assignedClientIdentifier, /./)
  },

  async 'topic aliases both ways' () {
    const a = await connect({ autoUseTopicAlias: true, autoAssignTopicAlias: true })
    const b = await connect({ properties: { topicAliasMaximum: 2 } })
    const out = []
    const arrived = []
    a.client.on('packetsend', (p) => p.cmd === 'publish' && out.push([p.topic, p.properties?.topicAlias]))
    b.client.on('packetreceive', (p) => p.cmd === 'publish' && arrived.push(p.properties?.topicAlias))
    await b.subscribe('alias/#')
    for (let i = 0; i < 6; i++) await a.publish(`alias/${i % 3}`, String(i))
    for (let i = 0; i < 6; i++) await b.expect(`alias/${i % 3}`, String(i), 0)
    assert.deepEqual(out.map(([topic]) => topic), ['alias/0', 'alias/1', 'alias/2', '', '', ''])
    assert.deepEqual(arrived, [1, 2, undefined, 1, 2, undefined])
  },

  async 'user properties and the others arrive unaltered' () {
    const a = await connect()
    await a.subscribe('props', { qos: 1, properties: { subscriptionIdentifier: 42 } })
    const properties = { payloadFormatIndicator: true, contentType: 'text/plain', userProperties: { k: ['1', '2'], ä: 'ö' }, messageExpiryInterval: 100 }
    await a.publish('props', 'x', { qos: 1, properties })
    const got = (await a.expect('props', 'x', 1)).properties
    const { messageExpiryInterval, subscriptionIdentifier, ...rest } = got
    assert.ok(messageExpiryInterval <= 100 && messageExpiryInterval > 50, `expires after ${messageExpiryInterval} s`)
    assert.equal(subscriptionIdentifier, 42)
    assert.deepEqual({ ...rest, userProperties: { ...rest.userProperties } }, { payloadFormatIndicator: true, contentType: 'text/plain', userProperties: properties.userProperties })
  },

  async 'a request and its response between clients' () {
    const asks = await connect({ properties: { requestResponseInformation: true } })
    const answers = await connect()
    const responseTopic = asks.connack.properties.responseInformation
    await asks.subscribe(responseTopic, { qos: 1 })
    await answers.subscribe('ask/#', { qos: 1 })
    await asks.publish('ask/time', '?', { qos: 1, properties: { responseTopic, correlationData: Buffer.from([0, 7, 255]) } })
    const { properties } = await answers.expect('ask/time', '?', 1)
    await answers.publish(properties.responseTopic, 'noon', { qos: 1, properties: { correlationData: properties.correlationData } })
    const reply = await asks.expect(responseTopic, 'noon', 1)
    assert.deepEqual(reply.properties.correlationData, Buffer.from([0, 7, 255]))
  },

  async 'own messages do not come back with no local' () {
    const a = await connect()
    const b = await connect()
    await a.subscribe('local', { qos: 1, nl: true })
    await a.publish('local', 'own', { qos: 1 })
    await b.publish('local', 'other', { qos: 1 })
    await a.expect('local', 'other', 1)
    await a.quiet()
  },

  async 'a packet that is too large for the client does not come' () {
    const a = await connect({ properties: { maximumPacketSize: 100 } })
    await a.subscribe('size', { qos: 1 })
    const b = await connect()
    await b.publish('size', 'x'.repeat(200), { qos: 1 })
    await b.publish('size', 'small', { qos: 1 })
    await a.expect('size', 'small', 1)
  }
}

await run(five ? { ...cases, ...casesOfFive } : cases)
