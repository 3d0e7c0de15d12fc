package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"gantry/internal/natsd"
	"gantry/wamp"
)

// natsConfig is a gateway that takes what load publishes, with the uplink hq to a server.
func natsConfig(server *natsd.Server) string {
	return fieldConfig(fmt.Sprintf(`kind = "nats"
url = %q
[uplink.hq.nats]
stream = "GATEWAYS"
create = true
duplicates = "1h"
`, server.URL()))
}

// TestNATSRequestsReachARelay has the command nats as the client.
func TestNATSRequestsReachARelay(t *testing.T) {
	t.Parallel()
	natsd.Need(t, "nats")
	server := natsd.NewServer(t)
	field := startProgram(t, writeFiles(t, map[string]string{
		"gantry.toml":         natsConfig(server),
		"devices.d/pump.toml": "[device.pump]\ndriver = \"sim\"\n[device.pump.point.relay]\nkind = \"relay\"\n",
	}), t.TempDir())
	s := field.join()
	keep(t, s, "gantry.field.state.", wamp.SubscribeOptions{GetRetained: true}).await(t, "the link", func(e event) bool {
		return e.topic == "gantry.field.state.uplink_hq.link" && e.value == "online"
	})
	points := keep(t, s, "gantry.field.point.pump.", wamp.SubscribeOptions{})
	for _, on := range []bool{true, false} {
		seen := len(points.all())
		if out := server.Nats("req", "gantry.field.set.pump.relay", fmt.Sprint(on)); !strings.Contains(out, fmt.Sprintf(`{"args":[%t],"kwargs":{`, on)) {
			t.Errorf("set to %t: %s", on, out)
		}
		points.awaitAfter(t, seen, fmt.Sprintf("relay %t", on), func(e event) bool { return e.topic == "gantry.field.point.pump.relay" && e.value == on })
		if out := server.Nats("req", "gantry.field.get.pump.relay", ""); !strings.Contains(out, fmt.Sprintf(`{"args":[%t]`, on)) {
			t.Errorf("get of %t: %s", on, out)
		}
	}
	if out := server.Nats("req", "gantry.field.set.pump.relay", "5"); !strings.Contains(out, `{"error":"wamp.error.invalid_argument"`) || !strings.Contains(out, "Nats-Service-Error-Code: 400") {
		t.Errorf("set to a number: %s", out)
	}
	if out := server.Nats("micro", "ls"); !strings.Contains(out, "gantry_field") {
		t.Errorf("micro ls: %s", out)
	}
	out := server.Nats("micro", "info", "gantry_field")
	for _, want := range []string{"gateway: field", "Subject: gantry.field.get.>", "Subject: gantry.field.set.>", "Subject: gantry.field.do.>"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in micro info: %s", want, out)
		}
	}
	field.stop()
	nc, _ := natsd.Connect(t, server.URL())
	// The server hears of the end of a connection a little later.
	until(t.Context(), t, "end of the services", func() (error, bool) {
		_, err := nc.Request("$SRV.PING.gantry_field", nil, time.Second)
		return err, errors.Is(err, nats.ErrNoResponders)
	})
}

// TestNATSLosesAndRepeatsNothing kills the server again and again while readings go to
// it, and the gateway as well, and looks at what the stream has in the end.
func TestNATSLosesAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	server := natsd.NewServer(t)
	_, js := natsd.Connect(t, server.URL())
	config, state := writeFiles(t, map[string]string{"gantry.toml": natsConfig(server)}), t.TempDir()
	var local []event
	var onDisk [2]int64 // by epoch, how many were safe before the kill
	for round := range onDisk {
		field := startProgram(t, config, state)
		s := field.join()
		seen := keep(t, s, "gantry.field.point.", wamp.SubscribeOptions{})
		ctx, cancel := context.WithCancel(t.Context())
		status := until(ctx, t, "a status", func() (wamp.Dict, bool) {
			status, err := queueStatus(ctx, s)
			return status, err == nil
		})
		base := number(t, status, "appended")
		done := make(chan struct{})
		go func() {
			defer close(done)
			load(ctx, t, field.mqtt, (round+1)*1_000_000, 100_000, 2*time.Millisecond)
		}()
		for range 3 {
			growStream(ctx, t, js, 150)
			server.Kill()
			until(ctx, t, "events that wait", func() (wamp.Dict, bool) {
				status, err := queueStatus(ctx, s)
				return status, err == nil && number(t, status, "depth") >= 150
			})
			server.Start()
		}
		growStream(ctx, t, js, 150)
		status, err := queueStatus(ctx, s)
		if err != nil {
			t.Fatal(err)
		}
		onDisk[round] = safe(t, status) - base
		field.kill()
		cancel()
		<-done
		local = append(local, seen.all()...)
	}
	drain(t, startProgram(t, config, state))
	if compared := checkArrivals(t, inStream(t, js), local, onDisk[:]); compared < 1000 {
		t.Errorf("only %d events could be compared with the source", compared)
	}
}

// until asks again and again until the answer is right, and returns it.
func until[T any](ctx context.Context, t *testing.T, what string, ask func() (answer T, right bool)) T {
	t.Helper()
	for late := time.Now().Add(2 * patience); ; pause(t, 20*time.Millisecond) {
		answer, right := ask()
		switch {
		case right:
			return answer
		case time.Now().After(late) || ctx.Err() != nil:
			t.Fatalf("no %s: %v", what, answer)
		}
	}
}

// growStream waits until the stream has got n more messages. The server may have been
// started just now.
func growStream(ctx context.Context, t *testing.T, js jetstream.JetStream, n uint64) {
	t.Helper()
	length := func() (uint64, bool) {
		st, err := js.Stream(ctx, "GATEWAYS")
		if err != nil {
			return 0, false
		}
		return st.CachedInfo().State.Msgs, true
	}
	from := until(ctx, t, "stream", length)
	until(ctx, t, fmt.Sprintf("%d messages", from+n), func() (uint64, bool) {
		now, ok := length()
		return now, ok && now >= from+n
	})
}

// inStream returns the readings in the order of the stream, and fails where the identifiers of messages are not what the page says.
func inStream(t *testing.T, js jetstream.JetStream) (all []event) {
	t.Helper()
	st, err := js.Stream(t.Context(), "GATEWAYS")
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for _, m := range natsd.Messages(t, js, "GATEWAYS", "gantry.>", int(st.CachedInfo().State.Msgs)) {
		var r struct {
			Topic   string
			Value   any
			Ep, Seq int64
			Live    bool
		}
		if err := json.Unmarshal(m.Data(), &r); err != nil {
			t.Fatalf("%s: %v", m.Data(), err)
		}
		id := m.Headers().Get("Nats-Msg-Id")
		if ids[id] || len(strings.Split(id, "/")) != 4 || !strings.HasPrefix(id, "field/") || r.Live || r.Topic != m.Subject() {
			t.Errorf("%s with the identifier %q: %s", m.Subject(), id, m.Data())
		}
		ids[id] = true
		if strings.HasPrefix(r.Topic, "gantry.field.alarm.uplink_hq.gap") {
			continue // what a kill may have cost is told as well
		}
		n, _ := r.Value.(float64)
		all = append(all, event{topic: r.Topic, ep: r.Ep, seq: r.Seq, value: int64(n)})
	}
	return all
}
