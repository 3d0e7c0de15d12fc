// Requests of MQTT 5 to a gateway whose procedures and rules TestMQTTRequests makes:
//   node requests.js URL
import assert from 'node:assert/strict'
import { connect, run } from './peer.js'

// asker is a client with a response topic of its own, which it subscribes to.
async function asker () {
  const a = await connect({ properties: { requestResponseInformation: true } })
  const responseTopic = a.connack.properties.responseInformation
  await a.subscribe(responseTopic, { qos: 1 })
  let asked = 0
  a.ask = async (topic, text, qos = 1) => {
    const correlationData = Buffer.from([0, 255, ++asked])
    await a.publish(topic, text, { qos, properties: { responseTopic, correlationData } })
    return correlationData
  }
  // answer expects the next message to be one.
  a.answer = async (correlation, text, userProperties) => {
    const { properties } = await a.expect(responseTopic, text, 1)
    assert.deepEqual(properties.correlationData, correlation)
    assert.deepEqual({ ...properties.userProperties }, userProperties ?? {})
  }
  return a
}

await run({
  async 'a procedure is a request topic' () {
    const a = await asker()
    for (const qos of [0, 1, 2]) await a.answer(await a.ask('house/lamp/level', '21', qos), '42')
    await a.answer(await a.ask('house/lamp/level', '{"args":[4],"kwargs":{"plus":1}}'), '9')
    await a.answer(await a.ask('house/lamp/level', '100'), 'too much', { error: 'gantry.error.out_of_range' })
    await a.answer(await a.ask('house/lamp/level', 'text'), 'no number', { error: 'wamp.error.invalid_argument' })
  },

  async 'progressive results' () {
    const a = await asker()
    const correlation = await a.ask('house/lamp/fade', '3')
    for (let i = 1; i <= 3; i++) await a.answer(correlation, String(i), { progress: 'true' })
    await a.answer(correlation, 'done')
  },

  async 'where there is no procedure another client answers' () {
    const a = await asker()
    const other = await connect()
    await other.subscribe('other/ask', { qos: 1 })
    const correlation = await a.ask('other/ask', '?')
    const { properties: { responseTopic, correlationData } } = await other.expect('other/ask', '?', 1)
    await other.publish(responseTopic, '!', { qos: 1, properties: { correlationData } })
    await a.answer(correlation, '!')
  },

  async 'a rule makes a call of a message, whatever properties it has' () {
    const a = await connect()
    await a.subscribe('done/#', { qos: 1 })
    const ask = (id, value, properties) => a.publish('cmd/lamp/level', JSON.stringify({ id, value }), { qos: 1, properties })
    await ask('r1', 21)
    await a.expect('done/lamp/r1', '{"args":[42],"id":"r1"}', 1)
    await ask('r2', 4, { contentType: 'application/json', userProperties: { from: 'js' }, responseTopic: 'not/here', correlationData: Buffer.from('7') })
    await a.expect('done/lamp/r2', '{"args":[8],"id":"r2"}', 1)
    await ask('r2', 4) // once
    await ask('r3', 100)
    await a.expect('done/lamp/r3', '{"args":["too much"],"error":"gantry.error.out_of_range","id":"r3"}', 1)
    await a.quiet()
  },

  async 'a rule makes a reading of a message, whatever properties it has' () {
    const a = await connect()
    await a.subscribe('gantry/gw/point/#', { qos: 1 })
    await a.publish('weather/roof', '{"t":21.5}', { qos: 1, properties: { contentType: 'application/json', payloadFormatIndicator: true } })
    const { topic, text } = await a.next()
    assert.equal(topic, 'gantry/gw/point/wx_roof/temp')
    const { args, kwargs } = JSON.parse(text)
    assert.deepEqual([args, kwargs.q, kwargs.unit], [[21.5], 'good', 'Cel'])
  },

  async 'the procedure of a rule asks a device, which answers' () {
    const qos = 0 // an acknowledgement would come with the result
    const lamp = await connect()
    await lamp.subscribe('lamp/set', { qos: 1 })
    const a = await asker()
    for (const [value, properties] of [[true, {}], [false, { contentType: 'application/json' }]]) {
      const correlation = await a.ask('house/lamp/relay', String(value), qos)
      const { state, id } = JSON.parse((await lamp.next()).text)
      assert.equal(state, value ? 'ON' : 'OFF')
      await lamp.publish('lamp/done', JSON.stringify({ id, state: `is ${state}` }), { qos: 1, properties })
      await a.answer(correlation, `is ${state}`)
    }
    const correlation = await a.ask('house/lamp/relay', 'true', qos)
    const { id } = JSON.parse((await lamp.next()).text)
    await lamp.publish('lamp/done', JSON.stringify({ id, failed: true, why: 'no bulb' }), { qos: 1 })
    await a.answer(correlation, 'no bulb', { error: 'gantry.error.refused' })
  }
})
