package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gantry/internal/config"
	"gantry/internal/wallclock"
	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/serialize"
)

// machineClock is the clock of a board without a battery, which the test moves.
type machineClock struct {
	begun time.Time // by the clock of this process
	start time.Time // when the board was started, in truth
	boot  string

	mu     sync.Mutex    // guards what follows
	wrong  time.Duration // what its clock is ahead of the truth
	synced bool
}

// boardStart is when the board of TestAWrongClock was started.
var boardStart = time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)

func (b *machineClock) up() time.Duration { return time.Minute + time.Since(b.begun) }

func (b *machineClock) now() time.Time { return b.start.Add(b.up()) }

func (b *machineClock) config() wallclock.Config {
	return wallclock.Config{Boot: b.boot, Up: b.up,
		System: func() time.Time {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.now().Add(b.wrong)
		},
		Synced: func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.synced
		}}
}

// step has somebody set the board's clock; the kernel then says that nothing keeps it.
func (b *machineClock) step(by time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wrong, b.synced = b.wrong+by, false
}

// sync has a time server set it, but for wrong.
func (b *machineClock) sync(wrong time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wrong, b.synced = wrong, true
}

// inProcess is a gateway in the test's process.
type inProcess struct {
	*Gateway
	stop func()
}

func startInProcess(t *testing.T, dir, state string, clock wallclock.Config) *inProcess {
	t.Helper()
	cfg, errs := config.Load(dir, kinds())
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	cfg.Listen.HTTP = ""
	g, err := NewGateway(Options{Config: cfg, State: state, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the gateway ended with %v", err)
		}
	})
	t.Cleanup(stop)
	select {
	case <-g.ready:
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
	return &inProcess{g, stop}
}

func (g *inProcess) join(t *testing.T) *client.Session {
	t.Helper()
	peer, err := dialRouter(t.Context(), "rs+unix://"+g.Addresses().Unix, "")
	if err != nil {
		t.Fatal(err)
	}
	s, err := client.Join(t.Context(), peer, client.SessionConfig{Realm: "gantry"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// dated is what the test wants to know of an event.
type dated struct {
	topic                  wamp.URI
	ep, seq, ts, up, since int64
	clk                    string
	stored                 time.Time // of a history
}

func (d *dated) id() string { return fmt.Sprintf("%s %d/%d", d.topic, d.ep, d.seq) }

func datedOf(topic wamp.URI, kwargs wamp.Dict) dated {
	d := dated{topic: topic}
	for k, p := range map[string]*int64{"ep": &d.ep, "seq": &d.seq, "ts": &d.ts, "up": &d.up, "since": &d.since} {
		*p, _ = kwargs[k].(int64)
	}
	d.clk, _ = kwargs["clk"].(string)
	return d
}

// history returns the events of the field gateway that another has kept.
func history(t *testing.T, s *client.Session) (all []dated) {
	t.Helper()
	p, err := s.Call(t.Context(), "wamp.subscription.lookup", wamp.CallOptions{}, wamp.Args("gantry.field.", wamp.Dict{"match": "prefix"}))
	if err != nil {
		t.Fatal(err)
	}
	id, _, _ := serialize.Values(p)
	var last any = int64(0)
	for {
		query := wamp.Dict{"limit": int64(1000)}
		if last != int64(0) {
			query["after_publication"] = last
		}
		p, err := s.Call(t.Context(), "wamp.subscription.get_events", wamp.CallOptions{}, wamp.Values(id, query))
		if err != nil {
			t.Fatal(err)
		}
		args, _, err := serialize.Values(p)
		if err != nil {
			t.Fatal(err)
		}
		events, _ := args[0].(wamp.List)
		for _, e := range events {
			ev := e.(wamp.Dict)
			last = ev["publication"]
			kwargs, _ := ev["kwargs"].(wamp.Dict)
			d := datedOf(wamp.URI(ev["details"].(wamp.Dict)["topic"].(string)), kwargs)
			d.stored, _ = time.Parse(time.RFC3339, fmt.Sprint(ev["timestamp"]))
			if d.seq != 0 {
				all = append(all, d)
			}
		}
		if len(events) == 0 {
			return all
		}
	}
}

// TestAWrongClock runs a gateway on a board whose clock is wrong and jumps, before and
// after a time server is found and with restarts in between, while the other side is
// away: nothing is dropped, nothing changes its place, and what was measured before
// arrives with the time when that was.
func TestAWrongClock(t *testing.T) {
	t.Parallel()
	const year = 365 * 24 * time.Hour
	state, hqState := t.TempDir(), t.TempDir()
	field := writeFiles(t, map[string]string{"gantry.toml": `schema = 1
gateway.name = "field"
mqtt.listen = ""
[[history]]
topic = "gantry.field."
match = "prefix"
max_age = "1h"
[uplink.hq]
url = "rs+unix://` + filepath.Join(hqState, "gantry.sock") + `"
forward = ["point", "state"]
no_live = true
buffer.max_age = "1h"
[device.tank]
driver = "sim"
period = "50ms"
[device.tank.point.level]
kind = "drift"
[device.tank.point.pump]
kind = "relay"
max_silence = "24h"
`})
	b := &machineClock{begun: time.Now(), start: boardStart, boot: "a", wrong: -57 * year}
	seen := map[string]dated{} // what was published
	var g *inProcess
	var events chan dated
	begin := func() {
		t.Helper()
		g = startInProcess(t, field, state, b.config())
		events = make(chan dated, 4096) // of this gateway; never closed
		to := events
		if _, err := g.join(t).Subscribe(t.Context(), "gantry.field.", wamp.SubscribeOptions{Match: wamp.MatchPrefix, GetRetained: true}, func(ev *wamp.Event) {
			if _, kwargs, err := serialize.Values(ev.Payload); err == nil {
				to <- datedOf(ev.Details.Topic, kwargs)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	pass := func() {
		t.Helper()
		late := time.After(patience)
		for n := 0; n < 5; {
			select {
			case d := <-events:
				if _, known := seen[d.id()]; !known && d.seq != 0 {
					seen[d.id()] = d
				}
				if d.topic == "gantry.field.point.tank.level" {
					n++
				}
			case <-late:
				t.Fatal("no readings")
			}
		}
	}
	begin()
	for _, by := range []time.Duration{0, 100 * year, -50 * year, time.Hour} {
		b.step(by)
		pass()
	}
	g.stop()
	begin()
	for _, by := range []time.Duration{0, -time.Hour, -time.Hour} {
		b.step(by)
		pass()
	}
	b.sync(0)
	pass()
	b.step(50 * year)
	pass()
	b.step(-100 * year)
	pass()
	last := retainedOf(t, g.join(t), "gantry.field.point.tank.pump")
	checkDated(t, seen, last)
	g.stop()
	begin()
	pass()
	b.step(time.Hour)
	pass()
	b.sync(-time.Second) // a leap second has passed
	pass()
	for _, d := range history(t, g.join(t)) {
		checkDated(t, seen, d)
		if late := d.stored.Sub(time.UnixMicro(d.ts)); d.topic == "gantry.field.point.tank.level" && d.up == 0 && (late < -20*time.Millisecond || late > 10*time.Second) {
			t.Errorf("%s was published at %v, measured at %v", d.id(), d.stored, time.UnixMicro(d.ts))
		}
	}

	hq := startProgram(t, writeFiles(t, map[string]string{"gantry.toml": `schema = 1
gateway.name = "hq"
mqtt.listen = ""
[[history]]
topic = "gantry.field."
match = "prefix"
`}), hqState)
	want := len(seen)
	s := hq.join()
	late := time.After(patience)
	var got []dated
	for arrived := 0; arrived < want; {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-late:
			t.Fatalf("%d of %d events arrived", arrived, want)
		}
		arrived = 0
		got = history(t, s)
		for i := range got {
			if _, known := seen[got[i].id()]; known {
				arrived++
			}
		}
	}
	next := map[wamp.URI]dated{}
	for _, d := range got {
		before := next[d.topic]
		if d.ep < before.ep || d.ep == before.ep && d.seq != before.seq+1 || d.ep > before.ep && d.seq != 1 {
			t.Errorf("%s came after %s", d.id(), before.id())
		}
		next[d.topic] = d
		checkDated(t, seen, d)
	}
}

// retainedOf returns a last value.
func retainedOf(t *testing.T, s *client.Session, topic wamp.URI) dated {
	t.Helper()
	got := make(chan dated, 1)
	if _, err := s.Subscribe(t.Context(), topic, wamp.SubscribeOptions{GetRetained: true}, func(ev *wamp.Event) {
		_, kwargs, _ := serialize.Values(ev.Payload)
		got <- datedOf(topic, kwargs)
	}); err != nil {
		t.Fatal(err)
	}
	var d dated
	select {
	case d = <-got:
	case <-time.After(patience):
		t.Fatalf("no last value of %s", topic)
	}
	return d
}

// checkDated compares an event that was served after the clock was set with what it
// was when it was published, and with the truth.
func checkDated(t *testing.T, seen map[string]dated, d dated) {
	t.Helper()
	const ms = 1000
	was, known := seen[d.id()]
	switch {
	case d.clk != "sync" || d.up != 0:
		t.Errorf("%s is still a guess: %+v", d.id(), d)
	case d.ts < boardStart.UnixMicro() || d.ts > boardStart.Add(time.Hour).UnixMicro() || d.since != 0 && (d.since > d.ts+10*ms || d.since < boardStart.UnixMicro()):
		t.Errorf("%s was not then: %+v", d.id(), d)
	case !known:
	case was.up == 0 && was.ts != d.ts:
		t.Errorf("%s was right and became another: %+v", d.id(), d)
	case was.up != 0:
		if wrong := d.ts - boardStart.UnixMicro() - was.up; wrong > 10*ms || wrong < -10*ms {
			t.Errorf("%s is wrong by %d us", d.id(), wrong)
		}
	}
}

// TestCertificatesOnAWrongClock connects to servers whose certificates are good for an
// hour, while the clock is not set: the link says why it cannot, and not that the
// certificate is bad; and after a start without a clock, the time of before will do.
func TestCertificatesOnAWrongClock(t *testing.T) {
	t.Parallel()
	const year = 365 * 24 * time.Hour
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCert(t, cert, key, "hq")
	hq := startProgram(t, writeFiles(t, map[string]string{"gantry.toml": fmt.Sprintf(`schema = 1
gateway.name = "hq"
mqtt.listen = ""
mqtt.listen_tls = "127.0.0.1:0"
[listen.tls]
cert = %q
key = %q
`, cert, key)}), t.TempDir())
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	web.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	web.Config.ErrorLog = log.New(io.Discard, "", 0)
	web.StartTLS()
	t.Cleanup(web.Close)
	field := writeFiles(t, map[string]string{"gantry.toml": fmt.Sprintf(`schema = 1
gateway.name = "field"
mqtt.listen = ""
[uplink.wamp]
url = %[2]q
ca = %[1]q
forward = ["alarm"]
[uplink.mqtt]
kind = "mqtt"
url = "ssl://%[3]s"
ca = %[1]q
forward = ["alarm"]
[uplink.web]
kind = "http"
url = %[4]q
ca = %[1]q
forward = ["alarm"]
[broker.house]
url = "ssl://%[3]s"
tls.ca = %[1]q
`, cert, hq.url, hq.mqtts, web.URL)})
	b := &machineClock{begun: time.Now(), start: time.Now().Add(-time.Minute), boot: "a", wrong: -57 * year}
	state := t.TempDir()
	g := startInProcess(t, field, state, b.config())
	await := linkWatch(t, g)
	unset := func(text string) bool { return strings.Contains(text, "the clock is not set (it says 19") }
	await(4, unset)
	b.step(107 * year)
	await(4, func(text string) bool { return strings.Contains(text, "the clock is not set (it says 20") })
	b.sync(0)
	await(4, func(text string) bool { return text == "online" })
	b.step(-57 * year)
	g.stop()
	b = &machineClock{begun: time.Now(), start: time.Now().Add(-time.Minute), boot: "b", wrong: -57 * year}
	g = startInProcess(t, field, state, b.config())
	linkWatch(t, g)(4, func(text string) bool { return text == "online" })
	if g.clock.Synced() {
		t.Error("the clock is taken for set")
	}
}

// linkWatch returns what waits until so many links are as is says of their state, or of
// the reason for it.
func linkWatch(t *testing.T, g *inProcess) (await func(links int, is func(text string) bool)) {
	t.Helper()
	type said struct {
		topic wamp.URI
		text  string
	}
	changes := make(chan said, 1024) // never closed
	if _, err := g.join(t).Subscribe(t.Context(), "gantry.field.state..link", wamp.SubscribeOptions{Match: wamp.MatchWildcard, GetRetained: true}, func(ev *wamp.Event) {
		args, kwargs, _ := serialize.Values(ev.Payload)
		text, ok := kwargs["reason"].(string)
		if !ok && len(args) > 0 {
			text, _ = args[0].(string)
		}
		if ev.Details.Topic != "gantry.field.state.gateway_store.link" {
			changes <- said{ev.Details.Topic, text}
		}
	}); err != nil {
		t.Fatal(err)
	}
	now := map[wamp.URI]string{}
	return func(links int, is func(string) bool) {
		t.Helper()
		late := time.After(2 * patience)
		for {
			n := 0
			for _, text := range now {
				if is(text) {
					n++
				}
			}
			if n == links {
				return
			}
			select {
			case c := <-changes:
				now[c.topic] = c.text
			case <-late:
				t.Fatalf("%d of %d links are as they should be: %v", n, links, now)
			}
		}
	}
}
