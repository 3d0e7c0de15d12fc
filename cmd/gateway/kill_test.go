package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
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

// load publishes numbered values over MQTT, one after each pace, until the gateway is
// gone, ctx ends or limit is reached. The values never repeat. It returns how many the
// gateway has acknowledged.
func load(ctx context.Context, t *testing.T, broker string, from, limit int, pace time.Duration) (sent int) {
	c := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + broker).SetAutoReconnect(false).SetConnectTimeout(patience))
	if err := settle(ctx, c.Connect()); err != nil {
		t.Errorf("connect to %s: %v", broker, err)
		return 0
	}
	defer c.Disconnect(0)
	for ; sent < limit && ctx.Err() == nil; sent++ {
		i := from + sent
		token := c.Publish(fmt.Sprintf("sensors/r%d/climate", i%7), 1, false, fmt.Sprintf(`{"temperature":%d}`, i))
		if settle(ctx, token) != nil {
			return sent
		}
		if pace > 0 {
			pause(t, pace)
		}
	}
	return sent
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

// hqConfig is the configuration of the other side of an uplink.
const hqConfig = "schema = 1\ngateway.name = \"hq\"\nmqtt.listen = \"\"\n"

// fieldMap is the beginning of the configuration of a gateway that takes what load
// publishes.
const fieldMap = `schema = 1
gateway.name = "field"
[mqtt]
listen = "127.0.0.1:0"
[[mqtt.map]]
topic = "sensors/{room}/climate"
device = "{room}"
point = "temperature"
path = "temperature"
type = "int"
`

// fieldConfig is the configuration of a gateway that sends what load publishes to
// the uplink hq, whose keys are more.
func fieldConfig(more string) string {
	return fieldMap + `[uplink.hq]
forward = ["point"]
` + more
}

// uplinkTo has the uplink lead to the gateway with the state directory hqState.
func uplinkTo(hqState, commit string) string {
	return fmt.Sprintf("url = \"rs+unix://%s\"\nbuffer = { commit = %q }\n", filepath.Join(hqState, "gantry.sock"), commit)
}

func killNine(t *testing.T, commit string) {
	hqState, state := t.TempDir(), t.TempDir()
	config := writeFiles(t, map[string]string{"gantry.toml": fieldConfig(uplinkTo(hqState, commit))})

	// Round 1: nobody at the other end. Round 2: it is there.
	var hq *program
	var arrived *ledger
	var local []event   // what subscribers at the gateway itself saw
	var onDisk [3]int64 // by epoch, how many events were said to be on disk before the kill
	for round := 1; round <= 2; round++ {
		if round == 2 {
			hq = startProgram(t, writeFiles(t, map[string]string{"gantry.toml": hqConfig}), hqState)
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
			load(ctx, t, field.mqtt, round*1_000_000, 100_000, 0)
		}()
		for onDisk[round] < 800 {
			now, err := queueStatus(ctx, s)
			if err != nil {
				t.Fatal(err)
			}
			onDisk[round] = safe(t, now) - base
		}
		field.kill()
		cancel()
		<-done
		local = append(local, seen.all()...)
	}

	isGap := func(e event) bool { return e.topic == "gantry.field.alarm.uplink_hq.gap" }
	field := startProgram(t, config, state)
	// What was not on disk may be lost, and the other side is told so after each kill.
	// That is no part of the depth, which may be 0 before.
	want := map[string]int{"sampled": 2, "confirmed": 0}[commit]
	eventually(t, "word of the gaps", func() bool {
		return len(slices.DeleteFunc(arrived.all(), func(e event) bool { return !isGap(e) })) >= want
	})
	drain(t, field)
	all := allAt(t, hq, arrived)
	events := slices.DeleteFunc(slices.Clone(all), isGap)
	if told := len(all) - len(events); told != want {
		t.Errorf("%d gaps were told of, want %d", told, want)
	}
	if compared := checkArrivals(t, events, local, onDisk[1:]); compared < 1000 {
		t.Errorf("only %d events could be compared with the source", compared)
	}
}

// safe returns how many events of all times are safe by a status. What has been
// acknowledged by the other side need not be on disk.
func safe(t *testing.T, status wamp.Dict) int64 {
	t.Helper()
	return max(number(t, status, "committed"), number(t, status, "acknowledged"))
}

// drain waits until a gateway's uplink has nothing left to send, and stops it.
func drain(t *testing.T, p *program) {
	t.Helper()
	s := p.join()
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
	p.stop()
}

// allAt stops the other side and returns all that arrived there.
func allAt(t *testing.T, hq *program, arrived *ledger) []event {
	t.Helper()
	// An event of the other side's own comes behind everything that arrived.
	hq.command("publish", "gantry.field.point.test.end", "0", "q=good")
	arrived.await(t, "end", func(e event) bool { return e.topic == "gantry.field.point.test.end" })
	got := arrived.all()
	hq.stop()
	return got[:len(got)-1]
}

// checkArrivals compares what arrived, but for newest values ahead of the queue, with
// what was seen at the source, and with how much of each epoch, beginning with 1, was said
// to be safe. It returns how many events were compared.
func checkArrivals(t *testing.T, arrived, local []event, onDisk []int64) (compared int) {
	t.Helper()
	type place struct {
		topic   string
		ep, seq int64
	}
	values := map[place]any{}
	for _, e := range local {
		values[place{e.topic, e.ep, e.seq}] = e.value
	}
	count := make([]int64, len(onDisk))
	mark := map[string]place{}
	once := map[any]bool{}
	for _, e := range arrived {
		if e.live {
			continue
		}
		at := place{e.topic, e.ep, e.seq}
		if e.ep < 1 || e.ep > int64(len(onDisk)) {
			t.Fatalf("from no epoch: %+v", e)
		}
		count[e.ep-1]++
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
	for i := range onDisk {
		if count[i] < onDisk[i] {
			t.Errorf("epoch %d: %d arrived, %d had been acknowledged", i+1, count[i], onDisk[i])
		}
	}
	t.Logf("acknowledged %v, arrived %v, compared with the source %d", onDisk, count, compared)
	return compared
}
