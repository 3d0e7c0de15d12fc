package main

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"gantry/bridge/uplink"
	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/serialize"
)

// queueStatus asks a gateway for the state of its uplink hq.
func queueStatus(ctx context.Context, s *client.Session) (wamp.Dict, error) {
	p, err := s.Call(ctx, uplink.StatusProcedure("field"), wamp.CallOptions{}, wamp.Args("hq"))
	if err != nil {
		return nil, err
	}
	var d wamp.Dict
	return d, serialize.Arg(p, 0, &d)
}

// number reads a counter of the status.
func number(t *testing.T, d wamp.Dict, key string) int64 {
	t.Helper()
	switch n := d[key].(type) {
	case int64:
		return n
	case uint64:
		return int64(n)
	}
	t.Fatalf("%s is %v", key, d[key])
	return 0
}

// load publishes numbered values over MQTT until the gateway is gone, ctx ends
// or limit is reached. The values never repeat.
func load(ctx context.Context, t *testing.T, broker string, from, limit int) {
	c := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + broker).SetAutoReconnect(false).SetConnectTimeout(patience))
	if err := settle(ctx, c.Connect()); err != nil {
		t.Errorf("connect to %s: %v", broker, err)
		return
	}
	defer c.Disconnect(0)
	for i := from; i < from+limit && ctx.Err() == nil; i++ {
		token := c.Publish(fmt.Sprintf("sensors/r%d/climate", i%7), 1, false, fmt.Sprintf(`{"temperature":%d}`, i))
		if settle(ctx, token) != nil {
			return
		}
	}
}

// TestKillNineLosesNothing kills a gateway under load, once while the other side
// is away and once while it takes what it gets, and compares what arrives there
// with what was said to be on disk.
func TestKillNineLosesNothing(t *testing.T) {
	t.Parallel()
	for _, commit := range []string{"confirmed", "sampled"} {
		t.Run(commit, func(t *testing.T) {
			t.Parallel()
			killNine(t, commit)
		})
	}
}

func killNine(t *testing.T, commit string) {
	hqState, state := t.TempDir(), t.TempDir()
	hqConfig := writeFiles(t, map[string]string{"gantry.toml": "schema = 1\ngateway.name = \"hq\"\nmqtt.listen = \"\"\n"})
	config := writeFiles(t, map[string]string{"gantry.toml": fmt.Sprintf(`schema = 1
gateway.name = "field"
[mqtt]
listen = "127.0.0.1:0"
[[mqtt.map]]
topic = "sensors/{room}/climate"
device = "{room}"
point = "temperature"
path = "temperature"
type = "int"
[uplink.hq]
url = "rs+unix://%s"
forward = ["point"]
buffer = { commit = "%s" }
`, filepath.Join(hqState, "gantry.sock"), commit)})

	// Round 1: nobody at the other end. Round 2: it is there.
	var hq *program
	var arrived *ledger
	var local []event   // what subscribers at the gateway itself saw
	var onDisk [3]int64 // by epoch, how many events were said to be on disk before the kill
	for round := 1; round <= 2; round++ {
		if round == 2 {
			hq = startProgram(t, hqConfig, hqState)
			arrived = keep(t, hq.join(), "gantry.field.", wamp.SubscribeOptions{})
		}
		field := startProgram(t, config, state)
		s := field.join()
		seen := keep(t, s, "gantry.field.point.", wamp.SubscribeOptions{})
		ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
		before, err := queueStatus(ctx, s)
		if err != nil {
			t.Fatal(err)
		}
		base := number(t, before, "appended")
		done := make(chan struct{})
		go func() {
			defer close(done)
			load(ctx, t, field.mqtt, round*1_000_000, 100_000)
		}()
		for onDisk[round] < 800 {
			now, err := queueStatus(ctx, s)
			if err != nil {
				t.Fatal(err)
			}
			// What has been acknowledged by the other side need not be on disk.
			onDisk[round] = max(number(t, now, "committed"), number(t, now, "acknowledged")) - base
		}
		field.kill()
		cancel()
		<-done
		local = append(local, seen.all()...)
	}

	last := startProgram(t, config, state)
	s := last.join()
	late := time.Now().Add(patience)
	for {
		now, err := queueStatus(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		if number(t, now, "depth") == 0 {
			break
		}
		if time.Now().After(late) {
			t.Fatalf("the queue does not drain: %v", now)
		}
	}
	last.stop()
	// An event of the other side's own comes behind everything that arrived.
	hq.command("publish", "gantry.field.point.test.end", "0", "q=good")
	arrived.await(t, "end", func(e event) bool { return e.topic == "gantry.field.point.test.end" })
	got := arrived.all()
	hq.stop()
	checkArrivals(t, got[:len(got)-1], local, onDisk)
}

// checkArrivals compares what arrived with what was seen at the source.
func checkArrivals(t *testing.T, arrived, local []event, onDisk [3]int64) {
	t.Helper()
	type place struct {
		topic   string
		ep, seq int64
	}
	values := map[place]any{}
	for _, e := range local {
		values[place{e.topic, e.ep, e.seq}] = e.value
	}
	var count [3]int64
	mark := map[string]place{}
	once := map[any]bool{}
	compared := 0
	for _, e := range arrived {
		at := place{e.topic, e.ep, e.seq}
		if e.ep < 1 || e.ep > 2 {
			t.Fatalf("from no epoch: %+v", e)
		}
		count[e.ep]++
		if want := mark[e.topic].seq + 1; e.ep == mark[e.topic].ep && e.seq != want || e.ep > mark[e.topic].ep && e.seq != 1 || e.ep < mark[e.topic].ep {
			t.Errorf("%+v after epoch %d, number %d", e, mark[e.topic].ep, mark[e.topic].seq)
		}
		mark[e.topic] = at
		if once[e.value] {
			t.Errorf("twice: %+v", e)
		}
		once[e.value] = true
		if v, ok := e.value.(int64); !ok || v/1_000_000 != e.ep || e.topic != fmt.Sprintf("gantry.field.point.r%d.temperature", v%7) {
			t.Errorf("nobody published %+v", e)
		}
		if want, seen := values[at]; seen {
			compared++
			if want != e.value {
				t.Errorf("%+v was %v at the source", e, want)
			}
		}
	}
	for ep := 1; ep <= 2; ep++ {
		if count[ep] < onDisk[ep] {
			t.Errorf("epoch %d: %d arrived, %d had been acknowledged", ep, count[ep], onDisk[ep])
		}
	}
	if compared < 1000 {
		t.Errorf("only %d events could be compared with the source", compared)
	}
	t.Logf("acknowledged %v, arrived %v, compared with the source %d", onDisk[1:], count[1:], compared)
}
