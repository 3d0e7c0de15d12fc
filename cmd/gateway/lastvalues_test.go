package main

import (
	"path/filepath"
	"testing"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

// TestLastValuesSurvive stops and kills a gateway; what was retained is there again,
// with its age, and marked for what it is.
func TestLastValuesSurvive(t *testing.T) {
	t.Parallel()
	state, hqState := t.TempDir(), t.TempDir()
	config := writeFiles(t, map[string]string{"gantry.toml": `schema = 1
gateway.name = "field"
mqtt.listen = ""
[uplink.hq]
url = "rs+unix://` + filepath.Join(hqState, "gantry.sock") + `"
forward = ["point"]
`})
	const level, gone, secret = "gantry.field.point.tank.level", "gantry.field.point.tank.gone", "gantry.field.point.tank.secret"
	reading := func(value int64) wamp.Payload {
		return wamp.Values(wamp.List{value}, wamp.Dict{"q": "good", "ts": int64(1_772_366_400_000_000), "ep": int64(7), "seq": value, "clk": "sync"})
	}
	first := startProgram(t, config, state)
	s := first.join()
	ack := wamp.PublishOptions{Acknowledge: true, Retain: true}
	for value := range int64(3) {
		for _, topic := range []wamp.URI{level, gone} {
			if err := s.Publish(t.Context(), topic, ack, reading(value)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Publish(t.Context(), gone, wamp.PublishOptions{Acknowledge: true, Unretain: true}, wamp.Args(nil)); err != nil {
		t.Fatal(err)
	}
	private := ack
	private.Filter = &wamp.PublishFilter{EligibleAuthRole: []string{"nobody"}}
	if err := s.Publish(t.Context(), secret, private, reading(0)); err != nil {
		t.Fatal(err)
	}
	// Six values and the end of one; nobody may have the secret.
	appended := int64(7)
	if n := queuedEvents(t, first, appended); n != appended {
		t.Errorf("%d events went to the uplink, want %d", n, appended)
	}
	first.stop()

	for _, end := range []func(*program){(*program).kill, (*program).stop, (*program).kill} {
		again := startProgram(t, config, state)
		s := again.join()
		got := map[wamp.URI]wamp.Dict{}
		done := make(chan struct{})
		const last = "gantry.field.point.test.end"
		if _, err := s.Subscribe(t.Context(), "gantry.field.point.", wamp.SubscribeOptions{Match: wamp.MatchPrefix, GetRetained: true}, func(ev *wamp.Event) {
			if ev.Details.Topic == last {
				close(done)
				return
			}
			args, kwargs, err := serialize.Values(ev.Payload)
			if err != nil || len(args) != 1 || args[0] != int64(2) {
				t.Errorf("%s: %v, %v", ev.Details.Topic, args, err)
			}
			got[ev.Details.Topic] = kwargs
		}); err != nil {
			t.Fatal(err)
		}
		if n := queuedEvents(t, again, appended); n != appended {
			t.Errorf("%d events went to the uplink, %d before", n, appended)
		}
		if err := s.Publish(t.Context(), last, wamp.PublishOptions{IncludeMe: true}, wamp.Payload{}); err != nil {
			t.Fatal(err)
		}
		<-done
		// What was retained would have come before it.
		appended++
		if n := queuedEvents(t, again, appended); n != appended {
			t.Errorf("%d events went to the uplink, want %d", n, appended)
		}
		k := got[level]
		if len(got) != 1 || k["q"] != "stale" || k["why"] != "restart" || k["replay"] != true || k["ts"] != int64(1_772_366_400_000_000) ||
			k["ep"] != int64(7) || k["seq"] != int64(2) {
			t.Errorf("retained: %v", got)
		}
		end(again)
	}
}

// TestLastValuesOfRemovedDevicesAreGone takes a device out of the configuration while
// the gateway is stopped.
func TestLastValuesOfRemovedDevicesAreGone(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	const main = "schema = 1\ngateway.name = \"field\"\nmqtt.listen = \"\"\n"
	device := func(name string) string {
		return "[device." + name + "]\ndriver = \"sim\"\nperiod = \"1s\"\n[device." + name + ".point.level]\nkind = \"drift\"\nbase = 5\nswing = 1\ncycle = \"10m\"\n"
	}
	retained := func(p *program) map[string]bool {
		s := p.join()
		seen := map[string]bool{}
		events := make(chan string, 8)
		if _, err := s.Subscribe(t.Context(), "gantry.field.point.", wamp.SubscribeOptions{Match: wamp.MatchPrefix, GetRetained: true}, func(ev *wamp.Event) {
			events <- string(ev.Details.Topic)
		}); err != nil {
			t.Fatal(err)
		}
		const last = "gantry.field.point.test.end"
		for !seen["gantry.field.point.kept.level"] {
			seen[<-events] = true
		}
		if err := s.Publish(t.Context(), last, wamp.PublishOptions{IncludeMe: true}, wamp.Payload{}); err != nil {
			t.Fatal(err)
		}
		for !seen[last] {
			seen[<-events] = true
		}
		return seen
	}
	both := startProgram(t, writeFiles(t, map[string]string{"gantry.toml": main, "devices.d/kept.toml": device("kept"), "devices.d/old.toml": device("old")}), state)
	s := both.join()
	got := make(chan string, 8)
	if _, err := s.Subscribe(t.Context(), "gantry.field.point.old.", wamp.SubscribeOptions{Match: wamp.MatchPrefix, GetRetained: true}, func(ev *wamp.Event) {
		got <- string(ev.Details.Topic)
	}); err != nil {
		t.Fatal(err)
	}
	<-got
	both.stop()
	one := writeFiles(t, map[string]string{"gantry.toml": main, "devices.d/kept.toml": device("kept")})
	for range 2 {
		p := startProgram(t, one, state)
		if seen := retained(p); seen["gantry.field.point.old.level"] {
			t.Errorf("retained: %v", seen)
		}
		p.stop()
	}
}

// queuedEvents returns how many events an uplink has ever had, once there are as many as
// expected at least, and all are on disk.
func queuedEvents(t *testing.T, p *program, least int64) (n int64) {
	t.Helper()
	s := p.join()
	eventually(t, "commit", func() bool {
		d, err := queueStatus(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		n = number(t, d, "appended")
		return n >= least && number(t, d, "committed") == n
	})
	return n
}

func FuzzStaleReading(f *testing.F) {
	for _, kwargs := range []wamp.Dict{
		{"q": "good", "ts": int64(1_772_366_400_000_000), "ep": int64(7), "seq": int64(1), "clk": "sync"},
		{"q": "good", "ts": int64(1_000_000), "ep": int64(7), "seq": int64(1), "clk": "guess", "up": int64(1_000_000)}, nil,
	} {
		b, err := encodeReading(wamp.Values(wamp.List{21.5}, kwargs))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := staleReading(b)
		if err != nil {
			return
		}
		args, kwargs, err := serialize.Values(p)
		if err != nil || kwargs["q"] != "stale" || kwargs["why"] != "restart" || kwargs["replay"] != true {
			t.Fatalf("%x became %v %v: %v", b, args, kwargs, err)
		}
		again, err := encodeReading(p)
		if err != nil {
			t.Fatalf("%x became %v %v, which cannot be kept: %v", b, args, kwargs, err)
		}
		if _, err := staleReading(again); err != nil {
			t.Fatalf("%x became %x: %v", b, again, err)
		}
	})
}
