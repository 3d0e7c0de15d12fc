package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gantry/internal/mosquitto"
	"gantry/wamp"
)

// stormSize is how many retained messages there are: what the environment says in
// GANTRY_SOAK_STORM, else few.
func stormSize(t *testing.T) int {
	t.Helper()
	text := os.Getenv("GANTRY_SOAK_STORM")
	if text == "" {
		return scale(12_000)
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("GANTRY_SOAK_STORM: %q is no number of messages", text)
	}
	return n
}

// stormPatience is how long n messages may take on a machine that has much to do.
func stormPatience(n int) time.Duration { return patience + time.Duration(n)*2*time.Millisecond }

// stormTopic is the topic of one message.
func stormTopic(i int) string { return fmt.Sprintf("storm/%d", i) }

// storm publishes n retained messages, each on a topic of its own, and returns when
// the broker has taken all.
func storm(t *testing.T, addr string, n int) {
	t.Helper()
	s := newSimulator(t, addr, "gone", "gone")
	body := `{"t":1,"more":"` + strings.Repeat("x", 200) + `"}`
	for i := range n - 1 {
		if token := s.client.Publish(stormTopic(i), 0, true, body); !token.WaitTimeout(patience) || token.Error() != nil {
			t.Fatal(token.Error())
		}
	}
	s.publish(stormTopic(n-1), true, body) // QoS 1: behind the others
}

// frugal fails the test if the program has taken more than it may under an attack.
func (p *program) frugal(n int) {
	p.t.Helper()
	peak := p.status("VmHWM")
	p.t.Logf("%d retained messages, %d MB at most, %d MB then", n, peak>>20, p.status("VmRSS")>>20)
	if peak > siegeBudget() {
		p.t.Errorf("the program took %d MB, allowed are %d", peak>>20, siegeBudget()>>20)
	}
}

// TestRetainedStormOfABroker has a gateway become a client of a broker that keeps very
// many messages. A rule makes readings of them and another one lets them through: what
// does not become a reading, or is not kept, is counted.
func TestRetainedStormOfABroker(t *testing.T) {
	t.Parallel()
	n := stormSize(t)
	broker := mosquitto.NewBroker(t, "max_queued_messages 0", "max_inflight_messages 0")
	storm(t, broker.Addr, n)
	config := writeFiles(t, map[string]string{"gantry.toml": "schema = 1\ngateway.name = \"barn\"\nmqtt.listen = \"\"\n[broker.house]\nurl = \"tcp://" + broker.Addr + "\"\n" +
		"[[broker.house.map]]\ntopic = \"storm/{n}\"\ndevice = \"d_{n}\"\npoint = \"t\"\npath = \"t\"\n" +
		"[[broker.house.pass]]\ntopic = \"storm/#\"\ndirection = \"in\"\nprefix = \"house.\"\n"})
	p := startProgram(t, config, t.TempDir(), "GOMEMLIMIT=120MiB")
	sum := func(names ...string) (sum float64) {
		for _, name := range names {
			sum += p.metric("gantry_broker_" + name + "_total")
		}
		return sum
	}
	within(t, stormPatience(n), "end of the storm", func() bool { return sum("received") == float64(n) && sum("passed_in", "not_passed") == float64(n) })
	if got := sum("readings", "dropped"); got != float64(n) {
		t.Errorf("%v readings and %v dropped, of %d", sum("readings"), sum("dropped"), n)
	}
	if c := sum("connections"); c != 1 {
		t.Errorf("%v connections", c)
	}
	t.Logf("%v readings, %v beyond the streams of a broker, %v messages passed, %v did not", sum("readings"), sum("dropped"), sum("passed_in"), sum("not_passed"))
	if kept := p.metric("gantry_router_retained") + p.metric("gantry_router_not_retained_total"); kept < sum("passed_in") {
		t.Errorf("of %v messages that passed %v are kept, or counted as not kept", sum("passed_in"), kept)
	}
	p.frugal(n)
	p.serves(t, "house", broker.Addr)
	p.stop()
}

// serves shows that a message still passes from the broker to a program.
func (p *program) serves(t *testing.T, prefix, broker string) {
	t.Helper()
	s := p.join()
	heard := make(chan struct{}, 16)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	topic := "storm.fresh"
	if prefix != "" {
		topic = prefix + "." + topic
	}
	if _, err := s.Subscribe(ctx, wamp.URI(topic), wamp.SubscribeOptions{}, func(*wamp.Event) { heard <- struct{}{} }); err != nil {
		t.Fatal(err)
	}
	newSimulator(t, broker, "gone", "gone").publish("storm/fresh", false, `{"t":2}`)
	select {
	case <-heard:
	case <-ctx.Done():
		t.Error("nothing passes after the storm")
	}
}

// TestRetainedStormOfTheListener has the listener of a gateway keep very many messages,
// and a client take them all.
func TestRetainedStormOfTheListener(t *testing.T) {
	t.Parallel()
	n := stormSize(t)
	config := writeFiles(t, map[string]string{"gantry.toml": "schema = 1\ngateway.name = \"barn\"\n[mqtt]\nlisten = \"127.0.0.1:0\"\n"})
	p := startProgram(t, config, t.TempDir(), "GOMEMLIMIT=120MiB")
	storm(t, p.mqtt, n)
	lost := int64(p.metric("gantry_router_not_retained_total"))
	s := newSimulator(t, p.mqtt, "gone", "gone")
	seen := make([]atomic.Bool, n)
	var taken atomic.Int64
	s.handle("storm/#", func(topic string, _ []byte) {
		i, err := strconv.Atoi(strings.TrimPrefix(topic, "storm/"))
		if err != nil || i < 0 || i >= n || seen[i].Swap(true) {
			t.Errorf("%q comes again, or is nobody's", topic)
			return
		}
		taken.Add(1)
	})
	within(t, stormPatience(n), "end of what is taken", func() bool { return taken.Load() >= int64(n)-lost })
	t.Logf("%d taken, %d were not kept", taken.Load(), lost)
	if d := p.metric("gantry_router_dropped_total"); d != 0 {
		t.Errorf("%v dropped", d)
	}
	p.frugal(n)
	s.client.Disconnect(100)
	p.serves(t, "", p.mqtt)
	p.stop()
}
