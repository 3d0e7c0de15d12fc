package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"gantry/internal/mosquitto"
	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/serialize"
)

// shaped is a program that looks for devices of one shape at a broker.
type shaped struct {
	t    *testing.T
	s    *client.Session
	seen *ledger
}

// overBrokers runs a test with a Mosquitto that the gateway is a client of, and with
// the gateway's own listener.
func overBrokers(t *testing.T, shape string, test func(x *shaped, addr string)) {
	t.Parallel()
	t.Run("Mosquitto", func(t *testing.T) {
		t.Parallel()
		broker := mosquitto.NewBroker(t)
		config := writeFiles(t, map[string]string{"gantry.toml": "schema = 1\ngateway.name = \"barn\"\nmqtt.listen = \"\"\n[broker.house]\nurl = \"tcp://" + broker.Addr + "\"\nshapes = [\"" + shape + "\"]\n"})
		p := startProgram(t, config, t.TempDir())
		x := &shaped{t: t, s: p.join()}
		x.seen = keep(t, x.s, "gantry.barn.", wamp.SubscribeOptions{GetRetained: true})
		test(x, broker.Addr)
		p.stop()
	})
	t.Run("own listener", func(t *testing.T) {
		t.Parallel()
		config := writeFiles(t, map[string]string{"gantry.toml": "schema = 1\ngateway.name = \"barn\"\n[mqtt]\nlisten = \"127.0.0.1:0\"\nshapes = [\"" + shape + "\"]\n"})
		p := startProgram(t, config, t.TempDir())
		x := &shaped{t: t, s: p.join()}
		x.seen = keep(t, x.s, "gantry.barn.", wamp.SubscribeOptions{GetRetained: true})
		test(x, p.mqtt)
		p.stop()
	})
}

// link waits until a device is in a state.
func (x *shaped) link(device, state string) {
	x.t.Helper()
	x.seen.await(x.t, device+" "+state, func(e event) bool {
		return e.topic == "gantry.barn.state."+device+".link" && e.value == state
	})
}

// reading waits for a value of a point that is known to be of now.
func (x *shaped) reading(device, point string, value any) {
	x.t.Helper()
	x.seen.await(x.t, device+" "+point, func(e event) bool {
		return e.topic == "gantry.barn.point."+device+"."+point && e.value == value && e.quality == "good"
	})
}

// call calls a procedure of the gateway.
func (x *shaped) call(uri string, args wamp.List, kwargs wamp.Dict) (any, error) {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(x.t.Context(), patience)
	defer cancel()
	p, err := x.s.Call(ctx, wamp.URI("gantry.barn."+uri), wamp.CallOptions{}, wamp.Values(args, kwargs))
	if err != nil {
		return nil, err
	}
	got, _, err := serialize.Values(p)
	if err != nil || len(got) == 0 {
		return nil, err
	}
	return got[0], nil
}

// must is call for what has to succeed.
func (x *shaped) must(uri string, args wamp.List, kwargs wamp.Dict) any {
	x.t.Helper()
	v, err := x.call(uri, args, kwargs)
	if err != nil {
		x.t.Fatalf("%s: %v", uri, err)
	}
	return v
}

// refused wants an error of a URI.
func (x *shaped) refused(uri string, args wamp.List, kwargs wamp.Dict, want wamp.URI) {
	x.t.Helper()
	_, err := x.call(uri, args, kwargs)
	var e *wamp.Error
	if !errors.As(err, &e) || e.URI != want {
		x.t.Errorf("%s: %v; want %s", uri, err, want)
	}
}

// gone waits until a device has no procedures any more.
func (x *shaped) gone(device, point string) {
	x.t.Helper()
	x.seen.await(x.t, device+" vanished", func(e event) bool { return e.topic == "gantry.barn.sys.device.vanished" })
	deadline := time.Now().Add(patience)
	for {
		_, err := x.call("get."+device+"."+point, nil, nil)
		var e *wamp.Error
		if errors.As(err, &e) && e.URI == wamp.ErrURINoSuchProcedure {
			return
		}
		if time.Now().After(deadline) {
			x.t.Fatalf("%s is still there: %v", device, err)
		}
	}
}

func TestZigbee2MQTTDevicesAppear(t *testing.T) {
	overBrokers(t, "zigbee2mqtt", func(x *shaped, addr string) {
		z := newZigbee(x.t, addr)
		x.link("kitchen_plug", "online")
		x.link("zigbee2mqtt", "online")
		z.tell()
		x.reading("kitchen_plug", "power", 0.5)
		if v := x.must("set.kitchen_plug.state", wamp.List{true}, nil); v != true {
			x.t.Errorf("set: %v", v)
		}
		x.reading("kitchen_plug", "state", true)
		if v := x.must("get.kitchen_plug.state", nil, nil); v != true {
			x.t.Errorf("get: %v", v)
		}
		x.refused("set.kitchen_plug.countdown", wamp.List{50000}, nil, wamp.ErrURIOutOfRange)
		x.refused("set.kitchen_plug.countdown", wamp.List{10}, nil, wamp.ErrURIDevTimeout)
		z.publish("zigbee2mqtt/Kitchen plug", false, map[string]any{"action": "double"})
		x.reading("kitchen_plug", "action", "double")

		x.must("do.zigbee2mqtt.permit_join", nil, wamp.Dict{"time": 60})
		x.reading("zigbee2mqtt", "permit_join", true)
		if v := x.must("set.zigbee2mqtt.permit_join", wamp.List{false}, nil); v != false {
			x.t.Errorf("permit_join: %v", v)
		}
		x.refused("do.zigbee2mqtt.permit_join", nil, wamp.Dict{"time": 255}, wamp.ErrURIOutOfRange)
		x.must("do.zigbee2mqtt.ota_check", nil, wamp.Dict{"id": "Kitchen plug"})
		x.refused("do.zigbee2mqtt.ota_check", nil, wamp.Dict{"id": "nobody"}, "gantry.error.refused")
		x.update(z)

		z.publish("zigbee2mqtt/Kitchen plug/availability", true, `{"state":"offline"}`)
		x.link("kitchen_plug", "offline")
		x.refused("set.kitchen_plug.state", wamp.List{true}, nil, wamp.ErrURIOffline)
		x.must("do.zigbee2mqtt.rename", nil, wamp.Dict{"from": "Kitchen plug", "to": "Pantry plug"})
		x.link("pantry_plug", "online")
		x.gone("kitchen_plug", "state")
		x.must("do.zigbee2mqtt.remove", nil, wamp.Dict{"id": "Pantry plug"})
		x.gone("pantry_plug", "state")
	})
}

// update runs a firmware update to its end, and aborts two others: its caller gives up,
// or somebody says so.
func (x *shaped) update(z *zigbee) {
	for _, end := range []string{"finish", "give up", "abort"} {
		ctx, cancel := context.WithTimeout(x.t.Context(), patience)
		done := x.begin(ctx)
		want := "abort"
		switch end {
		case "finish":
			want = end
			z.end(end)
			if err := <-done; err != nil {
				x.t.Errorf("update: %v", err)
			}
		case "give up":
			cancel()
			<-done
		case "abort":
			x.must("do.zigbee2mqtt.ota_abort", nil, wamp.Dict{"id": "Kitchen plug"})
			var e *wamp.Error
			if err := <-done; !errors.As(err, &e) || e.URI != "gantry.error.refused" {
				x.t.Errorf("an update that somebody aborts: %v", err)
			}
		}
		cancel()
		select {
		case how := <-z.ended:
			if how != want {
				x.t.Errorf("%s: the update ended with %s, want %s", end, how, want)
			}
		case <-time.After(patience):
			x.t.Fatalf("%s: the update goes on", end)
		}
	}
}

// begin starts a firmware update, once none runs any more, and returns when it has
// reported progress. How it ends is sent to done.
func (x *shaped) begin(ctx context.Context) (done chan error) {
	x.t.Helper()
	for {
		progress := make(chan struct{}, 16)
		done = make(chan error, 1)
		go func() {
			_, err := x.s.CallProgress(ctx, "gantry.barn.do.zigbee2mqtt.ota_update", wamp.CallOptions{}, wamp.Values(nil, wamp.Dict{"id": "Kitchen plug"}), func(wamp.Payload) { progress <- struct{}{} })
			done <- err
		}()
		select {
		case <-progress:
			return done
		case err := <-done:
			var e *wamp.Error
			if !errors.As(err, &e) || e.URI != wamp.ErrURIBusy { // the one before is being aborted
				x.t.Fatalf("the update ends before its first progress: %v", err)
			}
		case <-ctx.Done():
			x.t.Fatal("no progress")
		}
	}
}

func TestTasmotaDevicesAppear(t *testing.T) {
	overBrokers(t, "tasmota", func(x *shaped, addr string) {
		p := newTasmotaPlug(x.t, addr)
		x.link("boiler", "online")
		x.reading("boiler", "power", 42.0)
		if v := x.must("set.boiler.relay", wamp.List{true}, nil); v != true {
			x.t.Errorf("set: %v", v)
		}
		x.reading("boiler", "relay", true)
		x.refused("do.boiler.upgrade", nil, nil, "gantry.error.refused")
		p.publish("tele/tasmota_1A2B3C/LWT", true, "Offline")
		x.link("boiler", "offline")
		p.publish("tasmota/discovery/DC4F221A2B3C/config", true, "")
		x.gone("boiler", "relay")
	})
}

func TestShellyDevicesAppear(t *testing.T) {
	overBrokers(t, "shelly", func(x *shaped, addr string) {
		p := newShellyPlug(x.t, addr)
		x.link("desk", "online")
		x.reading("desk", "switch_0_power", 8.9)
		if v := x.must("set.desk.switch_0", wamp.List{true}, nil); v != true {
			x.t.Errorf("set: %v", v)
		}
		x.reading("desk", "switch_0", true)
		x.refused("do.desk.check_update", nil, nil, "gantry.error.refused")
		progress := make(chan struct{}, 16)
		done := make(chan error, 1)
		go func() {
			_, err := x.s.CallProgress(x.t.Context(), "gantry.barn.do.desk.update", wamp.CallOptions{}, wamp.Payload{}, func(wamp.Payload) { progress <- struct{}{} })
			done <- err
		}()
		select {
		case <-progress:
		case err := <-done:
			x.t.Fatalf("the update ends before its first progress: %v", err)
		}
		p.update <- true
		if err := <-done; err != nil {
			x.t.Errorf("update: %v", err)
		}
		p.publish(shellyID+"/online", true, "false")
		x.link("desk", "offline")
		p.publish(shellyID+"/online", true, "")
		x.gone("desk", "switch_0")
	})
}

func TestHomeAssistantDevicesAppear(t *testing.T) {
	overBrokers(t, "homeassistant", func(x *shaped, addr string) {
		// A message for each entity.
		e := newESPHome(x.t, addr)
		x.link("greenhouse", "online")
		e.publish("greenhouse/sensor/air_temperature/state", true, "23.5")
		x.reading("greenhouse", "air_temperature", 23.5)
		if v := x.must("set.greenhouse.pump", wamp.List{true}, nil); v != true {
			x.t.Errorf("set: %v", v)
		}
		x.reading("greenhouse", "pump", true)
		if v := x.must("set.greenhouse.target", wamp.List{24.5}, nil); v != 24.5 {
			x.t.Errorf("set: %v", v)
		}
		x.refused("set.greenhouse.target", wamp.List{77}, nil, wamp.ErrURIOutOfRange)
		x.must("do.greenhouse.restart", nil, nil)

		// One for a device with all of its entities.
		h := newHeatPump(x.t, addr)
		x.link("heat_pump", "online")
		if v := x.must("set.heat_pump.power", wamp.List{true}, nil); v != true {
			x.t.Errorf("set: %v", v)
		}
		x.reading("heat_pump", "power", true)
		x.reading("heat_pump", "flow", 35.5)
		h.publish(heatPumpTopic, true, "")
		x.gone("heat_pump", "flow")

		e.publish("greenhouse/status", true, "offline")
		x.link("greenhouse", "offline")
		x.refused("set.greenhouse.pump", wamp.List{true}, nil, wamp.ErrURIOffline)
		e.remove()
		x.gone("greenhouse", "pump")
	})
}
