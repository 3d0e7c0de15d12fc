package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// simulator is a client of a broker that answers as a device or a bridge does.
type simulator struct {
	t      *testing.T
	client paho.Client
	mu     sync.Mutex // guards what the simulators keep
}

// newSimulator connects to addr. will is kept there when the connection is cut.
func newSimulator(t *testing.T, addr, will, lost string) *simulator {
	t.Helper()
	s := &simulator{t: t, client: paho.NewClient(paho.NewClientOptions().AddBroker("tcp://"+addr).SetAutoReconnect(false).SetOrderMatters(false).SetWill(will, lost, 1, true))}
	s.wait(s.client.Connect())
	t.Cleanup(func() { s.client.Disconnect(100) })
	return s
}

func (s *simulator) wait(token paho.Token) {
	s.t.Helper()
	if !token.WaitTimeout(patience) || token.Error() != nil {
		s.t.Errorf("simulator: %v", token.Error())
	}
}

func (s *simulator) publish(topic string, retained bool, payload any) {
	var b []byte
	switch p := payload.(type) {
	case string:
		b = []byte(p)
	default:
		b, _ = json.Marshal(p)
	}
	s.wait(s.client.Publish(topic, 1, retained, b))
}

// handle calls f for every message on a filter; it may publish.
func (s *simulator) handle(filter string, f func(topic string, payload []byte)) {
	s.wait(s.client.Subscribe(filter, 1, func(_ paho.Client, m paho.Message) { f(m.Topic(), m.Payload()) }))
}

// zigbee is Zigbee2MQTT with one plug and a firmware update that goes on until it is
// told to finish or aborted. Source: zigbee2mqtt.io, "MQTT topics and messages", "OTA
// updates".
type zigbee struct {
	*simulator
	state  map[string]any
	update chan string // "finish" or "abort", for the update under way
	ended  chan string // capacity 1 for each update: how it ended
}

const zigbeePlug = `{"ieee_address": "0x00158d0001a2b3c4", "type": "Router", "friendly_name": "Kitchen plug", "supported": true, "disabled": false,
 "definition": {"model": "TS011F_plug", "vendor": "TuYa", "description": "Smart plug", "exposes": [
  {"type": "switch", "features": [{"type": "binary", "name": "state", "property": "state", "access": 7, "value_on": "ON", "value_off": "OFF", "value_toggle": "TOGGLE"}]},
  {"type": "numeric", "name": "power", "property": "power", "access": 5, "unit": "W"},
  {"type": "numeric", "name": "countdown", "property": "countdown", "access": 3, "unit": "s", "value_min": 0, "value_max": 43200, "value_step": 1},
  {"type": "enum", "name": "action", "property": "action", "access": 1, "values": ["single", "double"]}]}}`

func newZigbee(t *testing.T, addr string) *zigbee {
	z := &zigbee{simulator: newSimulator(t, addr, "zigbee2mqtt/bridge/state", `{"state":"offline"}`), state: map[string]any{"state": "OFF", "power": 0.5}, ended: make(chan string, 3)}
	z.handle("zigbee2mqtt/Kitchen plug/set", z.set)
	z.handle("zigbee2mqtt/Kitchen plug/get", func(string, []byte) { z.tell() })
	z.handle("zigbee2mqtt/bridge/request/#", z.request)
	z.devices(zigbeePlug)
	z.publish("zigbee2mqtt/bridge/info", true, map[string]any{"version": "2.14.1", "permit_join": false})
	z.publish("zigbee2mqtt/bridge/state", true, `{"state":"online"}`)
	z.publish("zigbee2mqtt/Kitchen plug/availability", true, `{"state":"online"}`)
	z.tell()
	return z
}

func (z *zigbee) devices(list ...string) {
	z.publish("zigbee2mqtt/bridge/devices", true, "["+strings.Join(list, ",")+"]")
}

func (z *zigbee) tell() {
	z.mu.Lock()
	b, _ := json.Marshal(z.state)
	z.mu.Unlock()
	z.publish("zigbee2mqtt/Kitchen plug", false, string(b))
}

func (z *zigbee) set(_ string, payload []byte) {
	var m map[string]any
	if json.Unmarshal(payload, &m) != nil {
		return
	}
	z.mu.Lock()
	for k, v := range m {
		if k != "countdown" { // it takes this one and never says so
			z.state[k] = v
		}
	}
	z.mu.Unlock()
	z.tell()
}

func (z *zigbee) request(topic string, payload []byte) {
	var m map[string]any
	_ = json.Unmarshal(payload, &m)
	what := strings.TrimPrefix(topic, "zigbee2mqtt/bridge/request/")
	answer := func(what string, data any, problem string) {
		r := map[string]any{"data": data, "status": "ok"}
		if problem != "" {
			r = map[string]any{"data": map[string]any{}, "status": "error", "error": problem}
		}
		if tx := m["transaction"]; tx != nil {
			r["transaction"] = tx
		}
		z.publish("zigbee2mqtt/bridge/response/"+what, false, r)
	}
	switch what {
	case "permit_join":
		open := m["time"] != 0.0
		z.publish("zigbee2mqtt/bridge/info", true, map[string]any{"version": "2.14.1", "permit_join": open})
		answer(what, map[string]any{"time": m["time"]}, "")
	case "device/rename":
		to := fmt.Sprint(m["to"])
		z.devices(strings.Replace(zigbeePlug, "Kitchen plug", to, 1))
		z.publish("zigbee2mqtt/"+to+"/availability", true, `{"state":"online"}`)
		answer(what, map[string]any{"from": m["from"], "to": to, "homeassistant_rename": false}, "")
	case "device/remove":
		z.devices()
		answer(what, map[string]any{"id": m["id"], "block": m["block"], "force": m["force"]}, "")
	case "device/ota_update/check":
		if m["id"] != "Kitchen plug" {
			answer(what, nil, fmt.Sprintf("Device '%v' does not exist", m["id"]))
			return
		}
		answer(what, map[string]any{"id": m["id"], "update_available": true}, "")
	case "device/ota_update/update":
		z.mu.Lock()
		z.update = make(chan string, 1)
		end := z.update
		z.mu.Unlock()
		z.publish("zigbee2mqtt/Kitchen plug", false, map[string]any{"update": map[string]any{"state": "updating", "progress": 13.37, "remaining": 219}})
		how := <-end
		z.ended <- how
		if how == "abort" {
			answer(what, nil, "OTA update of 'Kitchen plug' failed (aborted)")
			return
		}
		z.publish("zigbee2mqtt/Kitchen plug", false, map[string]any{"update": map[string]any{"state": "updating", "progress": 99.5, "remaining": 1}})
		answer(what, map[string]any{"id": m["id"], "from": map[string]any{"file_version": 1}, "to": map[string]any{"file_version": 2}}, "")
	case "device/ota_update/update/abort":
		z.end("abort")
		answer(what, map[string]any{"id": m["id"]}, "")
	}
}

// end ends the update under way.
func (z *zigbee) end(how string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.update != nil {
		z.update <- how
		z.update = nil
	}
}

// tasmotaPlug is a plug with a relay and a meter. Source: tasmota.github.io/docs,
// "MQTT", "Commands"; the discovery message as in xdrv_12_discovery.ino.
type tasmotaPlug struct {
	*simulator
	on bool
}

func newTasmotaPlug(t *testing.T, addr string) *tasmotaPlug {
	p := &tasmotaPlug{simulator: newSimulator(t, addr, "tele/tasmota_1A2B3C/LWT", "Offline")}
	p.handle("cmnd/tasmota_1A2B3C/+", p.command)
	p.publish("tasmota/discovery/DC4F221A2B3C/config", true, `{"ip":"192.168.1.20","dn":"Boiler","fn":["Boiler",null],"hn":"tasmota-1A2B3C-2876","mac":"DC4F221A2B3C","md":"Gosund SP111","ty":0,"if":0,"ofln":"Offline","onln":"Online","state":["OFF","ON","TOGGLE","HOLD"],"sw":"13.4.0","t":"tasmota_1A2B3C","ft":"%prefix%/%topic%/","tp":["cmnd","stat","tele"],"rl":[1,0,0,0],"swc":[-1,-1],"swn":[null,null],"btn":[0,0],"so":{"4":0,"11":0,"13":0,"17":0,"20":0,"30":0,"68":0,"73":0,"82":0,"114":0,"117":0},"lk":0,"lt_st":0,"sho":[0,0],"ver":1}`)
	p.publish("tasmota/discovery/DC4F221A2B3C/sensors", true, `{"sn":{"Time":"2026-01-02T03:04:05","ENERGY":{"TotalStartTime":"2023-01-01T00:00:00","Total":3.185,"Yesterday":0.012,"Today":0.003,"Power":0,"ApparentPower":0,"ReactivePower":0,"Factor":0.00,"Voltage":230,"Current":0.000}},"ver":1}`)
	p.publish("tele/tasmota_1A2B3C/LWT", true, "Online")
	return p
}

func (p *tasmotaPlug) command(topic string, payload []byte) {
	const stat = "stat/tasmota_1A2B3C/"
	p.mu.Lock()
	defer p.mu.Unlock()
	switch name := topic[strings.LastIndexByte(topic, '/')+1:]; {
	case name == "POWER":
		p.on = string(payload) == "ON"
		p.publish(stat+"RESULT", false, map[string]any{"POWER": onOff(p.on)})
		p.publish(stat+"POWER", false, onOff(p.on))
	case name == "STATUS" && string(payload) == "11":
		p.publish(stat+"STATUS11", false, map[string]any{"StatusSTS": map[string]any{"UptimeSec": 4711, "POWER": onOff(p.on), "Wifi": map[string]any{"RSSI": 82, "Signal": -59}}})
	case name == "STATUS" && string(payload) == "10":
		p.publish(stat+"STATUS10", false, map[string]any{"StatusSNS": map[string]any{"ENERGY": map[string]any{"Power": 42, "Voltage": 229, "Total": 3.2}}})
	case name == "Upgrade":
		p.publish(stat+"UPGRADE", false, "Failed No connection")
	default:
		p.publish(stat+"RESULT", false, `{"Command":"Unknown"}`)
	}
}

func onOff(on bool) string {
	if on {
		return "ON"
	}
	return "OFF"
}

// shellyPlug is a Shelly Plus Plug S. Source: shelly-api-docs.shelly.cloud, "MQTT",
// "Notifications", "Switch", "Shelly.Update".
type shellyPlug struct {
	*simulator
	on     bool
	update chan bool // finish
}

const shellyID = "shellyplusplugs-a8032abe54dc"

func newShellyPlug(t *testing.T, addr string) *shellyPlug {
	p := &shellyPlug{simulator: newSimulator(t, addr, shellyID+"/online", "false"), update: make(chan bool)}
	p.handle(shellyID+"/rpc", p.rpc)
	p.publish(shellyID+"/online", true, "true")
	return p
}

func (p *shellyPlug) status() map[string]any {
	return map[string]any{"id": 0, "source": "MQTT", "output": p.on, "apower": 8.9, "voltage": 237.5, "current": 0.1, "aenergy": map[string]any{"total": 6.532}, "temperature": map[string]any{"tC": 23.5, "tF": 74.4}}
}

func (p *shellyPlug) notify(method string, params map[string]any) {
	p.publish(shellyID+"/events/rpc", false, map[string]any{"src": shellyID, "dst": shellyID + "/events", "method": method, "params": params})
}

func (p *shellyPlug) rpc(_ string, payload []byte) {
	var r struct {
		ID     int64          `json:"id"`
		Src    string         `json:"src"`
		Method string         `json:"method"`
		Params map[string]any `json:"params"`
	}
	if json.Unmarshal(payload, &r) != nil {
		return
	}
	answer := func(result any) {
		p.publish(r.Src+"/rpc", false, map[string]any{"id": r.ID, "src": shellyID, "dst": r.Src, "result": result})
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch r.Method {
	case "Shelly.GetDeviceInfo":
		answer(map[string]any{"name": "Desk", "id": shellyID, "mac": "A8032ABE54DC", "model": "SNPL-00112EU", "gen": 2, "fw_id": "20230913-114008", "ver": "1.0.0", "app": "PlusPlugS"})
	case "Shelly.GetStatus":
		answer(map[string]any{"switch:0": p.status(), "sys": map[string]any{"uptime": 4711, "available_updates": map[string]any{"stable": map[string]any{"version": "1.0.8"}}}, "wifi": map[string]any{"rssi": -64}, "cloud": map[string]any{"connected": false}})
	case "Switch.Set":
		was := p.on
		p.on = r.Params["on"] == true
		answer(map[string]any{"was_on": was})
		p.notify("NotifyStatus", map[string]any{"ts": 1700000000.5, "switch:0": map[string]any{"id": 0, "output": p.on, "source": "MQTT"}})
	case "Shelly.Update":
		answer(nil)
		go func() {
			event := func(name string, more map[string]any) {
				more["component"], more["event"] = "sys", name
				p.notify("NotifyEvent", map[string]any{"ts": 1700000001.5, "events": []any{more}})
			}
			event("ota_begin", map[string]any{"msg": "Waiting"})
			event("ota_progress", map[string]any{"msg": "Got 100 bytes", "progress_percent": 47})
			select {
			case <-p.update:
				event("ota_success", map[string]any{"msg": "Update applied"})
			case <-time.After(patience):
			}
		}()
	default:
		p.publish(r.Src+"/rpc", false, map[string]any{"id": r.ID, "src": shellyID, "dst": r.Src, "error": map[string]any{"code": 404, "message": "No handler for " + r.Method}})
	}
}
