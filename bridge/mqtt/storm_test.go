package mqtt_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"gantry/bridge"
	"gantry/bridge/mqtt"
	"gantry/internal/mosquitto"
)

// connected returns a paho client of a broker, which it leaves at the end.
func connected(t testing.TB, addr, id string) paho.Client {
	t.Helper()
	c := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + addr).SetClientID(id).SetAutoReconnect(false))
	if token := c.Connect(); !token.WaitTimeout(patience) || token.Error() != nil {
		t.Fatal(token.Error())
	}
	t.Cleanup(func() { c.Disconnect(0) })
	return c
}

// TestRetainedStorm subscribes to very many retained messages, each on a topic of
// its own. Nothing but the topics of readings that are allowed takes memory, and
// none of them is taken for fresh.
func TestRetainedStorm(t *testing.T) {
	n := 100_000
	if testing.Short() {
		n = 10_000
	}
	b := mosquitto.NewBroker(t, "max_queued_messages 0", "max_inflight_messages 0")
	filler := connected(t, b.Addr, "filler")
	body := `{"t":1,"more":"` + strings.Repeat("x", 200) + `"}`
	for i := range n {
		qos := byte(0)
		if i == n-1 {
			qos = 1 // with its acknowledgement the broker has all
		}
		if token := filler.Publish(fmt.Sprintf("storm/%d", i), qos, true, body); !token.WaitTimeout(patience) || token.Error() != nil {
			t.Fatal(token.Error())
		}
	}
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	// A broker answers no ping while it queues the storm, which takes a busy machine long.
	w := newWorld(t, mqtt.Config{URL: "tcp://" + b.Addr, KeepAlive: 2 * time.Minute, RulesConfig: bridge.RulesConfig{
		Map: []bridge.MapConfig{
			{Topic: "storm/{n}", Device: "d_{n}", Point: "t", Path: "t"},
			{Topic: "storm/+", Device: "fresh", Point: "t", Path: "t", IgnoreRetained: true},
		},
	}})
	close(w.deaf)
	peak := uint64(0)
	deadline := time.Now().Add(3 * time.Minute)
	for tick := time.NewTicker(20 * time.Millisecond); w.client.Stats().Received < uint64(n); {
		<-tick.C
		var now runtime.MemStats
		runtime.ReadMemStats(&now)
		peak = max(peak, now.HeapInuse)
		if time.Now().After(deadline) {
			t.Fatalf("%+v", w.client.Stats())
		}
	}
	w.stop()
	s := w.client.Stats()
	const streams = 4096 - 1 // bridge.OriginConfig.MaxStreams; one is the link's
	if s.Received != uint64(n) || s.Rules.Readings != streams || s.Rules.Ignored != uint64(n) || s.Rules.Dropped != uint64(n-streams) || s.Connections != 1 {
		t.Errorf("%+v", s)
	}
	if more := int64(peak) - int64(before.HeapInuse); more > 48<<20 {
		t.Errorf("%d MiB of memory", more>>20)
	} else {
		t.Logf("%d messages, %d MiB at most", n, more>>20)
	}
}
