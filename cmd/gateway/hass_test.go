package main

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gantry/internal/mosquitto"
	"gantry/wamp"
)

// assistant is what Home Assistant sees of a broker.
type assistant struct {
	*simulator
	last   map[string]string // payloads by topic
	change chan struct{}     // closed and replaced when last changes
}

func newAssistant(t *testing.T, addr string) *assistant {
	a := &assistant{simulator: newSimulator(t, addr, "homeassistant/status", "offline"), last: map[string]string{}, change: make(chan struct{})}
	a.handle("#", func(topic string, payload []byte) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.last[topic] = string(payload)
		close(a.change)
		a.change = make(chan struct{})
	})
	return a
}

// await waits until a topic's payload is right.
func (a *assistant) await(topic, what string, right func(payload string, there bool) bool) string {
	a.t.Helper()
	late := time.After(patience)
	for {
		a.mu.Lock()
		payload, there := a.last[topic]
		change := a.change
		a.mu.Unlock()
		if right(payload, there) {
			return payload
		}
		select {
		case <-change:
		case <-late:
			a.t.Fatalf("%s: not %s: %q", topic, what, payload)
		}
	}
}

func (a *assistant) is(topic, want string) {
	a.t.Helper()
	a.await(topic, want, func(s string, _ bool) bool { return s == want })
}

const hassDevice = "[device.tank]\ndriver = \"sim\"\nlabel = \"Water tank\"\n[device.tank.point.pump]\nkind = \"relay\"\n[device.tank.point.drain]\nkind = \"valve\"\nmin = 0\nmax = 80\nstep = 5\nunit = \"%\"\n[device.tank.point.level]\nkind = \"drift\"\nbase = 50\nunit = \"Cel\"\n"

func TestHomeAssistantIsShownDevices(t *testing.T) {
	t.Parallel()
	for _, own := range []bool{false, true} {
		name, main, status := "own listener", "[mqtt]\nlisten = \"127.0.0.1:0\"\nhomeassistant = { devices = [\"*\"] }\n", ""
		if !own {
			name = "Mosquitto"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := ""
			if !own {
				addr, status = mosquitto.NewBroker(t).Addr, "gantry/barn/status"
				before := newSimulator(t, addr, "x", "")
				before.publish("gantry_barn/tank/pump/set", true, "ON")
				before.publish("homeassistant/device/gantry_barn_old/config", true, `{"origin":{"name":"Gantry"}}`)
				main = "mqtt.listen = \"\"\n[broker.house]\nurl = \"tcp://" + addr + "\"\nshapes = [\"tasmota\"]\nhomeassistant = { devices = [\"*\"] }\n"
			}
			config := writeFiles(t, map[string]string{"gantry.toml": "schema = 1\ngateway.name = \"barn\"\n" + main, "devices.d/tank.toml": hassDevice})
			p := startProgram(t, config, t.TempDir())
			if own {
				addr = p.mqtt
			}
			s := p.join()
			a := newAssistant(t, addr)
			checkDiscovery(a, status)
			a.is("gantry_barn/tank/availability", "online")
			a.is("gantry_barn/tank/pump", "OFF")
			if !own {
				// A command that the broker kept is not carried out; a device of old vanishes.
				p.out.await(t, "a command that the broker kept is not carried out")
				a.await("homeassistant/device/gantry_barn_old/config", "gone", func(s string, _ bool) bool { return s == "" })
			}

			// Commands reach the device, in the name of Home Assistant.
			a.publish("gantry_barn/tank/pump/set", false, "ON")
			a.is("gantry_barn/tank/pump", "ON")
			p.out.await(t, "homeassistant_")
			a.publish("gantry_barn/tank/drain/set", false, "35")
			a.is("gantry_barn/tank/drain", "35")
			// One that is refused changes nothing, and the state is told again.
			a.mu.Lock()
			delete(a.last, "gantry_barn/tank/drain")
			a.mu.Unlock()
			a.publish("gantry_barn/tank/drain/set", false, "1000")
			a.is("gantry_barn/tank/drain", "35")

			if !own {
				// What appeared at this broker is not shown there again.
				newTasmotaPlug(t, addr)
				x := &shaped{t: t, s: s, seen: keep(t, s, "gantry.barn.", wamp.SubscribeOptions{GetRetained: true})}
				x.link("boiler", "online")
				x.reading("boiler", "power", 42.0)
			}
			a.mu.Lock()
			_, back := a.last["homeassistant/device/gantry_barn_boiler/config"]
			a.mu.Unlock()
			if back {
				t.Error("a device is shown at the broker that it comes from")
			}
			p.stop()
			if status != "" {
				a.is(status, "offline")
			}
		})
	}
}

// checkDiscovery compares the discovery message of the tank.
func checkDiscovery(a *assistant, status string) {
	a.t.Helper()
	text := a.await("homeassistant/device/gantry_barn_tank/config", "there", func(_ string, there bool) bool { return there })
	var got map[string]any
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		a.t.Fatal(err)
	}
	components, _ := got["components"].(map[string]any)
	for name, want := range map[string]map[string]any{
		"pump":  {"platform": "switch", "name": "pump", "unique_id": "gantry_barn_tank_pump", "state_topic": "gantry_barn/tank/pump", "command_topic": "gantry_barn/tank/pump/set"},
		"drain": {"platform": "number", "name": "drain", "unique_id": "gantry_barn_tank_drain", "state_topic": "gantry_barn/tank/drain", "command_topic": "gantry_barn/tank/drain/set", "min": 0.0, "max": 80.0, "step": 5.0, "mode": "box", "unit_of_measurement": "%"},
		"level": {"platform": "sensor", "name": "level", "unique_id": "gantry_barn_tank_level", "state_topic": "gantry_barn/tank/level", "unit_of_measurement": "°C", "device_class": "temperature", "state_class": "measurement"},
	} {
		if diff := cmp.Diff(want, components[name]); diff != "" {
			a.t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
	available := []any{map[string]any{"topic": "gantry_barn/tank/availability"}}
	if status != "" {
		available = append(available, map[string]any{"topic": status})
	}
	if diff := cmp.Diff(available, got["availability"]); diff != "" {
		a.t.Errorf("availability: -want +got:\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"identifiers": []any{"gantry_barn_tank"}, "name": "Water tank", "manufacturer": "Gantry", "model": "simulated greenhouse"}, got["device"]); diff != "" {
		a.t.Errorf("device: -want +got:\n%s", diff)
	}
}
