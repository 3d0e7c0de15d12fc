package shapes_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gantry/bridge"
	"gantry/bridge/shapes"
	"gantry/drivers"
	"gantry/drivers/drivertest"
)

const lamp = `[{"ieee_address": "0x1", "friendly_name": "lamp", "definition": {"model": "m", "vendor": "v", "exposes": [
 {"type": "numeric", "property": "level", "access": 7, "value_min": 0, "value_max": 100, "value_step": 1}]}}]`

// running is a host whose lamp runs.
type running struct {
	*shapes.Host
	carrier *carrier
	lamp    drivers.Driver
	link    *drivertest.Link
	lost    chan error // capacity 1: how its Run ended
}

// withLamp runs f in a bubble with a lamp that is there.
func withLamp(t *testing.T, f func(t *testing.T, r *running)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, err := shapes.New(shapes.Config{Broker: "house", Gateway: "gw", Shapes: []string{bridge.ShapeZigbee2MQTT}}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		r := &running{Host: h, carrier: &carrier{}, link: &drivertest.Link{}, lost: make(chan error, 1)}
		h.Connected(r.carrier)
		h.Receive(bridge.Message{Topic: "zigbee2mqtt/bridge/state", Payload: []byte("online")})
		h.Receive(bridge.Message{Topic: "zigbee2mqtt/bridge/devices", Payload: []byte(lamp), Retained: true})
		for _, c := range h.Candidates() {
			if c.Name == "lamp" {
				r.lamp, err = c.New(drivers.Env{})
			}
		}
		if err != nil || r.lamp == nil {
			t.Fatalf("no lamp: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { r.lost <- r.lamp.Run(ctx, r.link) })
		synctest.Wait()
		f(t, r)
		cancel()
		wg.Wait()
	})
}

// says makes the lamp report.
func (r *running) says(payload string, retained bool) {
	r.Receive(bridge.Message{Topic: "zigbee2mqtt/lamp", Payload: []byte(payload), Retained: retained})
}

// set writes while f happens.
func (r *running) set(t *testing.T, v float64, f func()) (drivers.Value, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	var got drivers.Value
	var err error
	var wg sync.WaitGroup
	wg.Go(func() { got, err = r.lamp.(drivers.Writer).Write(ctx, "level", v) })
	synctest.Wait()
	f()
	wg.Wait()
	return got, err
}

func TestWritesAreConfirmedByTheDevice(t *testing.T) {
	withLamp(t, func(t *testing.T, r *running) {
		v, err := r.set(t, 40, func() {
			r.says(`{"level": 40}`, true)  // kept by the broker: from before
			r.says(`{"level": 10}`, false) // on its way
			r.says(`{"level": 40.4}`, false)
		})
		if v != 40.4 || err != nil {
			t.Errorf("%v, %v", v, err)
		}
		if sent := r.carrier.take(); len(sent) != 1 || sent[0] != `zigbee2mqtt/lamp/set {"level":40}` {
			t.Errorf("sent %q", sent)
		}
	})
}

func TestWritesThatAreNotConfirmed(t *testing.T) {
	withLamp(t, func(t *testing.T, r *running) {
		if _, err := r.set(t, 40, func() { r.says(`{"level": 10}`, false) }); !errors.Is(err, drivers.ErrNotVerified) || !strings.Contains(err.Error(), "10") {
			t.Errorf("another value: %v", err)
		}
		if _, err := r.set(t, 40, func() {}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("silence: %v", err)
		}
		if _, err := r.set(t, 40, func() { r.Lost("gone") }); !errors.Is(err, drivers.ErrOffline) {
			t.Errorf("lost: %v", err)
		}
		if err := <-r.lost; err == nil || !strings.Contains(err.Error(), "gone") {
			t.Errorf("the device is lost with the broker: %v", err)
		}
	})
}

func TestNothingIsSentLater(t *testing.T) {
	withLamp(t, func(t *testing.T, r *running) {
		r.Lost("gone")
		if _, err := r.set(t, 40, func() {}); !errors.Is(err, drivers.ErrOffline) {
			t.Errorf("without a broker: %v", err)
		}
		r.Connected(r.carrier)
		time.Sleep(time.Minute) // of the bubble's
		if sent := r.carrier.take(); len(sent) > 0 {
			t.Errorf("sent %q", sent)
		}
	})
}

func TestDevicesAreBounded(t *testing.T) {
	t.Parallel()
	h, err := shapes.New(shapes.Config{Broker: "house", Gateway: "gw", Shapes: bridge.Shapes}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	h.Connected(&carrier{})
	var list []string
	for i := range 1500 {
		list = append(list, fmt.Sprintf(`{"ieee_address": "0x%d", "friendly_name": "d%d", "definition": {"exposes": []}}`, i, i))
		h.Receive(bridge.Message{Topic: fmt.Sprintf("tasmota/discovery/%d/config", i), Payload: []byte(`{"t":"x","dn":"x","ft":"%prefix%/%topic%/","tp":["c","s","t"],"rl":[1]}`)})
		h.Receive(bridge.Message{Topic: fmt.Sprintf("shelly%d/online", i), Payload: []byte("true")})
		h.Receive(bridge.Message{Topic: fmt.Sprintf("shelly%d/events/rpc", i), Payload: []byte(fmt.Sprintf(`{"src":"shelly%d","method":"NotifyFullStatus","params":{"switch:0":{"output":true}}}`, i))})
		h.Receive(bridge.Message{Topic: fmt.Sprintf("homeassistant/sensor/x%d/config", i), Payload: []byte(fmt.Sprintf(`{"stat_t":"x%d","uniq_id":"x%d"}`, i, i))})
	}
	h.Receive(bridge.Message{Topic: "zigbee2mqtt/bridge/devices", Payload: []byte("[" + strings.Join(list, ",") + "]")})
	if n := h.Stats().Devices; n != 4*1024+1 { // and the bridge
		t.Errorf("%d devices", n)
	}
	if h.Stats().Refused == 0 {
		t.Error("nothing was refused")
	}
}
