package uplink_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"gantry/bridge/uplink"
	"gantry/bridge/uplink/mqttlink"
	"gantry/bridge/uplink/sparkplug"
	"gantry/internal/badline"
	"gantry/internal/mosquitto"
	"gantry/wamp"
	"gantry/wamp/serialize"
)

// watcher is a client at the broker that keeps what it gets.
type watcher struct {
	t  *testing.T
	c  paho.Client
	mu sync.Mutex
	// messages in their order; more is told of each, capacity 1.
	messages []paho.Message
	more     chan struct{}
}

func watch(t *testing.T, addr, filter string) *watcher {
	t.Helper()
	w := &watcher{t: t, more: make(chan struct{}, 1)}
	w.c = paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + addr).SetClientID("watcher").SetOrderMatters(true))
	w.do(w.c.Connect())
	w.do(w.c.Subscribe(filter, 1, func(_ paho.Client, m paho.Message) {
		w.mu.Lock()
		w.messages = append(w.messages, m)
		w.mu.Unlock()
		select {
		case w.more <- struct{}{}:
		default:
		}
	}))
	t.Cleanup(func() { w.c.Disconnect(100) })
	return w
}

func (w *watcher) do(token paho.Token) {
	w.t.Helper()
	if !token.WaitTimeout(time.Minute) || token.Error() != nil {
		w.t.Fatal(token.Error())
	}
}

// until returns all messages once enough says so, or fails after a minute.
func (w *watcher) until(enough func([]paho.Message) bool) []paho.Message {
	w.t.Helper()
	late := time.After(time.Minute)
	for {
		w.mu.Lock()
		all := append([]paho.Message(nil), w.messages...)
		w.mu.Unlock()
		if enough(all) {
			return all
		}
		select {
		case <-w.more:
		case <-late:
			for _, m := range all {
				w.t.Logf("%s %x", m.Topic(), m.Payload())
			}
			w.t.Fatal("it does not come")
		}
	}
}

// topic waits for the first message on a topic.
func (w *watcher) topic(name string) paho.Message {
	w.t.Helper()
	var found paho.Message
	w.until(func(all []paho.Message) bool {
		for _, m := range all {
			if m.Topic() == name {
				found = m
				return true
			}
		}
		return false
	})
	return found
}

func toBroker(addr string, cfg mqttlink.Config) func(*setup, *uplink.Commands) (uplink.Sink, error) {
	return func(s *setup, commands *uplink.Commands) (uplink.Sink, error) {
		cfg.URL, cfg.ClientID, cfg.Gateway, cfg.Commands = "tcp://"+addr, "g1", "g1", commands
		if cfg.Sparkplug != nil {
			cfg.Sparkplug.Local = s.own
		}
		return mqttlink.New(cfg, nil)
	}
}

// serve registers a procedure of the gateway that answers with its argument, or
// refuses 13.
func (s *setup) serve(procedure wamp.URI) <-chan any {
	s.t.Helper()
	calls := make(chan any, 100)
	_, err := s.hub.Register(context.Background(), procedure, wamp.RegisterOptions{}, func(_ context.Context, inv *wamp.Invocation, _ func(wamp.Payload) error) (wamp.Payload, error) {
		args, _, err := serialize.Values(inv.Payload)
		if err != nil || len(args) != 1 {
			return wamp.Payload{}, errors.New("one argument is wanted")
		}
		calls <- args[0]
		if args[0] == int64(13) {
			return wamp.Payload{}, wamp.NewError("gantry.error.out_of_range", "not 13", wamp.Dict{"max": 12})
		}
		return wamp.Args(args[0]), nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return calls
}

func TestMQTTInJSON(t *testing.T) {
	t.Parallel()
	mosquitto.Need(t, "mosquitto", "mosquitto")
	broker := mosquitto.NewBroker(t)
	w := watch(t, broker.Addr, "gantry/g1/#")
	w.do(w.c.Publish("gantry/g1/call/set/dev/valve/old", 1, true, "1"))
	s := newSetupOf(t, t.TempDir(), uplink.Config{Kind: "mqtt", URL: "tcp://broker", NoLive: true}, toBroker(broker.Addr, mqttlink.Config{}))
	defer s.stop()
	calls := s.serve("gantry.g1.set.dev.valve")
	if m := w.topic("gantry/g1/status"); string(m.Payload()) != "online" {
		t.Errorf("%s", m.Payload())
	}
	s.publish("temp", 1, 500)
	all := w.until(func(all []paho.Message) bool {
		return len(readings(all)) >= 500
	})
	for i, m := range readings(all) {
		var got struct {
			Topic string
			Value int
			Q     string
			Seq   int
		}
		if err := json.Unmarshal(m.Payload(), &got); err != nil {
			t.Fatalf("%s: %v", m.Payload(), err)
		}
		if got.Topic != "gantry.g1.point.dev.temp" || got.Value != i+1 || got.Q != "good" || got.Seq != i+1 {
			t.Fatalf("%d: %s", i, m.Payload())
		}
	}
	w.do(w.c.Publish("gantry/g1/call/set/dev/valve/a", 1, false, "12"))
	if m := w.topic("gantry/g1/result/set/dev/valve/a"); string(m.Payload()) != "12" {
		t.Errorf("%s", m.Payload())
	}
	w.do(w.c.Publish("gantry/g1/call/set/dev/valve/e", 1, false, `{"args":[11],"kwargs":{}}`))
	if m := w.topic("gantry/g1/result/set/dev/valve/e"); string(m.Payload()) != "11" {
		t.Errorf("%s", m.Payload())
	}
	w.do(w.c.Publish("gantry/g1/call/set/dev/valve/b", 1, false, "13"))
	if m := w.topic("gantry/g1/error/set/dev/valve/b"); string(m.Payload()) != `{"error":"gantry.error.out_of_range","args":["not 13"],"kwargs":{"max":12}}` {
		t.Errorf("%s", m.Payload())
	}
	// What is not served is not called, and what was retained was no command.
	w.do(w.c.Publish("gantry/g1/call/sys/config/reload/c", 1, false, ""))
	w.do(w.c.Publish("gantry/g1/call/get/dev/nothing/d", 1, false, ""))
	w.topic("gantry/g1/error/get/dev/nothing/d")
	if len(calls) != 3 {
		t.Errorf("%d calls", len(calls))
	}
}

func readings(all []paho.Message) (some []paho.Message) {
	for _, m := range all {
		if strings.HasPrefix(m.Topic(), "gantry/g1/point/") {
			some = append(some, m)
		}
	}
	return some
}

// TestMQTTOverABadLine cuts the connection again and again: nothing is lost, and a
// receiver that keeps a mark sees everything once and in order.
func TestMQTTOverABadLine(t *testing.T) {
	t.Parallel()
	mosquitto.Need(t, "mosquitto", "mosquitto")
	broker := mosquitto.NewBroker(t)
	p := badline.New(t, broker.Addr, 0)
	w := watch(t, broker.Addr, "gantry/g1/point/#")
	s := newSetupOf(t, t.TempDir(), uplink.Config{Kind: "mqtt", URL: "tcp://broker"}, toBroker(p.Addr(), mqttlink.Config{}))
	defer s.stop()
	const rounds, n = 3, 700
	for round := range rounds {
		for i := range n / 70 {
			s.publish("temp", round*n+i*70+1, round*n+(i+1)*70)
			if i == n/140 {
				p.Cut()
			}
		}
		w.until(func(all []paho.Message) bool { return marked(t, all) >= round*n+n/2 })
	}
	w.until(func(all []paho.Message) bool { return marked(t, all) == rounds*n })
	if p.Made.Load() < rounds {
		t.Errorf("%d connections only", p.Made.Load())
	}
}

// marked returns the mark of a receiver, and fails when numbers are missing.
func marked(t *testing.T, all []paho.Message) (mark int) {
	t.Helper()
	for _, m := range all {
		var got struct {
			Value int
			Live  bool
		}
		if err := json.Unmarshal(m.Payload(), &got); err != nil {
			t.Fatal(err)
		}
		switch {
		case got.Live || got.Value <= mark:
		case got.Value == mark+1:
			mark++
		default:
			t.Fatalf("%d after %d", got.Value, mark)
		}
	}
	return mark
}

// spark is a decoded message of Sparkplug: "NBIRTH" or "DDATA dev", and its payload.
type spark struct {
	kind string
	p    *sparkplug.Payload
}

func sparks(t *testing.T, all []paho.Message) (out []spark) {
	t.Helper()
	for _, m := range all {
		parts := strings.Split(m.Topic(), "/")
		if parts[0] != "spBv1.0" || parts[1] != "plant" || parts[3] != "node7" || strings.HasSuffix(parts[2], "CMD") {
			continue
		}
		p, err := sparkplug.Decode(m.Payload())
		if err != nil {
			t.Fatalf("%s: %v", m.Topic(), err)
		}
		out = append(out, spark{strings.Join(append([]string{parts[2]}, parts[4:]...), " "), p})
	}
	return out
}

// TestSparkplug is the life of an edge node, as a host application sees it.
func TestSparkplug(t *testing.T) {
	t.Parallel()
	mosquitto.Need(t, "mosquitto", "mosquitto")
	broker := mosquitto.NewBroker(t)
	p := badline.New(t, broker.Addr, 0)
	w := watch(t, broker.Addr, "spBv1.0/#")
	s := newSetupOf(t, t.TempDir(), uplink.Config{Kind: "mqtt", URL: "tcp://broker"}, toBroker(p.Addr(), mqttlink.Config{
		Sparkplug: &mqttlink.Sparkplug{Group: "plant", Node: "node7", Start: 3},
	}))
	defer s.stop()
	calls := s.serve("gantry.g1.set.dev.valve")
	w.topic("spBv1.0/plant/NBIRTH/node7")
	s.reading("dev.temp", 21.5, 1000)
	s.reading("dev.valve", int64(4), 2000)
	s.reading("dev.temp", int64(22), 3000)
	w.until(func(all []paho.Message) bool { return values(sparks(t, all), "dev")["temp"] == 22.0 })
	// How much waits is of the node itself.
	host(t, sparks(t, w.until(func(all []paho.Message) bool {
		told := sparks(t, all)
		i := last(told, "NDATA")
		return i >= 0 && told[i].p.Metrics[0].Name == "Uplink/Queue" && told[i].p.Metrics[0].Value != nil && told[i].p.Metrics[1].Name == "Uplink/Queue Age"
	})))

	// A host writes a point.
	cmd := sparkplug.Append(nil, &sparkplug.Payload{NoSeq: true, Metrics: []sparkplug.Metric{{Name: "valve", Type: sparkplug.Int64, Value: int64(9)}}})
	w.do(w.c.Publish("spBv1.0/plant/DCMD/node7/dev", 1, false, cmd))
	select {
	case v := <-calls:
		if v != int64(9) {
			t.Error(v)
		}
	case <-time.After(time.Minute):
		t.Fatal("no command came through")
	}

	// A host asks for births.
	again := sparkplug.Append(nil, &sparkplug.Payload{NoSeq: true, Metrics: []sparkplug.Metric{{Name: "Node Control/Rebirth", Type: sparkplug.Boolean, Value: true}}})
	w.do(w.c.Publish("spBv1.0/plant/NCMD/node7", 1, false, again))
	all := sparks(t, w.until(func(all []paho.Message) bool {
		return count(sparks(t, all), "NBIRTH") == 2 && last(sparks(t, all), "DBIRTH dev") > last(sparks(t, all), "NBIRTH")
	}))
	if node := all[last(all, "NBIRTH")].p; len(node.Metrics) != 4 || node.Metrics[2].Name != "Uplink/Queue" || node.Metrics[2].Value == nil {
		t.Errorf("%+v", node.Metrics)
	}
	birth := all[last(all, "DBIRTH dev")].p
	if len(birth.Metrics) != 2 || birth.Metrics[0].Name != "temp" || birth.Metrics[0].Value != 22.0 || birth.Metrics[0].Type != sparkplug.Double || birth.Metrics[1].Value != int64(4) {
		t.Errorf("%+v", birth.Metrics)
	}

	// The connection is lost: the will says so, and what came meanwhile is history.
	p.Hole.Store(true)
	p.Cut()
	w.until(func(all []paho.Message) bool { return count(sparks(t, all), "NDEATH") == 1 })
	s.reading("dev.temp", 23.5, 4000)
	s.reading("dev.temp", 24.5, 5000)
	p.Hole.Store(false)
	p.Cut()
	all = sparks(t, w.until(func(all []paho.Message) bool {
		history := 0
		for _, m := range sparks(t, all) {
			for _, v := range m.p.Metrics {
				if v.Historical && (v.Value == 23.5 || v.Value == 24.5) {
					history++
				}
			}
		}
		return history >= 2
	}))
	host(t, all)
	if v := values(all, "dev")["temp"]; v != 24.5 {
		t.Errorf("the present value is %v", v)
	}
}

// reading publishes a reading at a time in milliseconds.
func (s *setup) reading(point string, v any, ms int64) {
	s.t.Helper()
	err := s.hub.Publish(context.Background(), "gantry.g1.point."+wamp.URI(point), wamp.PublishOptions{Acknowledge: true, Retain: true},
		wamp.Values(wamp.List{v}, wamp.Dict{"seq": ms, "ep": int64(1), "q": "good", "ts": ms * 1000, "unit": "Cel"}))
	if err != nil {
		s.t.Fatal(err)
	}
}

func count(all []spark, kind string) (n int) {
	for _, m := range all {
		if m.kind == kind {
			n++
		}
	}
	return n
}

func last(all []spark, kind string) int {
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].kind == kind {
			return i
		}
	}
	return -1
}

// values returns what a host takes for the present values of a device.
func values(all []spark, device string) map[string]any {
	now := map[string]any{}
	for _, m := range all {
		if m.kind != "DBIRTH "+device && m.kind != "DDATA "+device {
			continue
		}
		for _, v := range m.p.Metrics {
			if !v.Historical {
				now[v.Name] = v.Value
			}
		}
	}
	return now
}

// host checks what a host application relies on (Sparkplug 3.0, 5 and 6): numbers
// without a hole, births before data with every metric and its type, deaths that fit
// births.
func host(t *testing.T, all []spark) {
	t.Helper()
	seq, bdSeq := uint64(0), any(nil)
	var types map[string]sparkplug.Type
	alive := false
	for i, m := range all {
		at := fmt.Sprintf("message %d, %s", i, m.kind)
		if m.kind == "NDEATH" {
			if !m.p.NoSeq || len(m.p.Metrics) != 1 || m.p.Metrics[0].Name != "bdSeq" || m.p.Metrics[0].Value != bdSeq {
				t.Errorf("%s: %+v after birth %v", at, m.p, bdSeq)
			}
			alive = false
			continue
		}
		if m.kind == "NBIRTH" {
			if m.p.Seq != 0 || m.p.NoSeq || m.p.Metrics[0].Name != "bdSeq" || m.p.Metrics[1].Name != "Node Control/Rebirth" {
				t.Errorf("%s: %+v", at, m.p)
			}
			seq, types, alive, bdSeq = 0, map[string]sparkplug.Type{}, true, m.p.Metrics[0].Value
		}
		if !alive || m.p.NoSeq || m.p.Seq != seq {
			t.Errorf("%s: number %d in place of %d, alive %t", at, m.p.Seq, seq, alive)
		}
		seq = (seq + 1) % 256
		kind, device, _ := strings.Cut(m.kind, " ")
		for _, v := range m.p.Metrics {
			name := device + "/" + v.Name
			switch {
			case kind == "DBIRTH" || kind == "NBIRTH":
				types[name] = v.Type
			case (kind == "DDATA" || kind == "NDATA") && types[name] != v.Type:
				t.Errorf("%s: %s is of type %d, born as %d", at, name, v.Type, types[name])
			}
		}
	}
}
