package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gantry/internal/badline"
	"gantry/store"
	"gantry/wamp"
	"gantry/wamp/serialize"
)

// soakTime is how long trouble is made: what the environment says in name, else short.
func soakTime(t *testing.T, name string, short time.Duration) time.Duration {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return short
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return d
}

// farConfig is a gateway that acknowledges readings of others once they are on disk, in
// its history.
const farConfig = `schema = 1
gateway.name = "hq"
mqtt.listen = "127.0.0.1:0"
[[history]]
topic = "gantry.field.point."
match = "prefix"
commit = "confirmed"
max_bytes = 4294967296
`

// farGateway is a gateway at the end of a line. It may be killed and started again.
type farGateway struct {
	t             *testing.T
	config, state string
	line          *badline.Line
	kind          string // of the uplink that leads to it
	now           *program
}

func newFarGateway(t *testing.T, kind string) *farGateway {
	f := &farGateway{t: t, config: writeFiles(t, map[string]string{"gantry.toml": farConfig}), state: t.TempDir(), kind: kind, line: badline.New(t, "", 0)}
	f.start()
	return f
}

func (f *farGateway) start() {
	f.t.Helper()
	f.now = startProgram(f.t, f.config, f.state)
	if f.kind == "mqtt" {
		f.line.Lead(f.now.mqtt)
		return
	}
	u, err := url.Parse(f.now.url)
	if err != nil {
		f.t.Fatal(err)
	}
	f.line.Lead(u.Host)
}

// uplink is what leads to it over the line.
func (f *farGateway) uplink() string {
	if f.kind == "mqtt" {
		return fmt.Sprintf("kind = \"mqtt\"\nurl = \"tcp://%s\"\nserve = []\n", f.line.Addr())
	}
	return fmt.Sprintf("url = \"ws://%s/ws\"\n", f.line.Addr())
}

// TestUplinksLoseNothing has a gateway with steady readings, and kills the far one again
// and again, or cuts the line. In the end each reading of each stream is in the far
// history, in order, and once for a receiver that keeps its mark.
func TestUplinksLoseNothing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		last  time.Duration
		every time.Duration
		harm  func(far *farGateway, every time.Duration)
	}{
		{"router killed", soakTime(t, "GANTRY_SOAK", 7*time.Second), 3 * time.Second, func(f *farGateway, _ time.Duration) {
			f.now.kill()
			f.start()
		}},
		{"line flaps", soakTime(t, "GANTRY_SOAK_FLAPS", 5*time.Second), soakTime(t, "GANTRY_SOAK_PERIOD", 1500*time.Millisecond), func(f *farGateway, every time.Duration) {
			// Sometimes nobody is told that the line is down.
			f.line.Hole.Store(rand.IntN(2) == 0)
			f.line.Down.Store(true)
			if !f.line.Hole.Load() {
				f.line.Cut()
			}
			pause(f.t, time.Duration(rand.Int64N(int64(every/3))))
			f.line.Down.Store(false)
			f.line.Cut()
			f.line.Hole.Store(false)
		}},
	} {
		for _, kind := range []string{"wamp", "mqtt"} {
			t.Run(c.name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				far := newFarGateway(t, kind)
				soak(t, far, c.last, c.every, func() { c.harm(far, c.every) })
			})
		}
	}
}

// soakPace is the time between two readings.
const soakPace = 2 * time.Millisecond

// soakLeast is how many readings show something.
const soakLeast = 500

// soak publishes readings and does harm every so often, for a time, and for longer where
// the machine has much else to do.
func soak(t *testing.T, far *farGateway, last, every time.Duration, harm func()) {
	field := startProgram(t, writeFiles(t, map[string]string{"gantry.toml": fieldConfig(far.uplink())}), t.TempDir())
	s := field.join()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	sent := make(chan int, 1)
	go func() { sent <- load(ctx, t, field.mqtt, 0, 1<<30, soakPace) }()
	var status wamp.Dict
	enough := func() bool {
		var err error
		status, err = queueStatus(t.Context(), s)
		return err != nil || number(t, status, "appended") > soakLeast
	}
	harms, end := 0, time.Now().Add(last)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for harms == 0 || time.Now().Before(end) || !enough() && time.Now().Before(end.Add(2*patience)) {
		select {
		case <-tick.C:
			harm()
			harms++
		case <-time.After(time.Until(end)):
			pause(t, soakPace)
		}
	}
	cancel()
	n := <-sent
	// A minute may pass until the next connection.
	for late := time.Now().Add(5 * patience); ; pause(t, 20*time.Millisecond) {
		var err error
		if status, err = queueStatus(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if number(t, status, "depth") == 0 {
			break
		}
		if time.Now().After(late) {
			t.Fatalf("the queue does not drain: %v", status)
		}
	}
	field.stop()
	far.now.stop()
	c := readFarHistory(t, far.state)
	// The last one may have been acknowledged too late to be counted.
	if c.total < n || c.total > n+1 || n < soakLeast || harms == 0 || number(t, status, "dead_letters")+number(t, status, "lost") > 0 {
		t.Errorf("%d readings sent, %d arrived; harm done %d times; %v", n, c.total, harms, status)
	}
	t.Logf("%d readings, 0 lost, 0 out of order, 0 twice after the mark; %d copies below it, %d newest values ahead; harm done %d times, %d connections",
		c.total, c.copies, c.live, harms, number(t, status, "connections"))
}

// farTally is a receiver with its marks.
type farTally struct {
	mark                map[string][2]int64 // by topic: epoch and number
	total, copies, live int
}

// readFarHistory reads what a gateway that has stopped holds of the readings of others.
func readFarHistory(t *testing.T, state string) *farTally {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(state, "store", "history-*"))
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	kv, err := store.Open(store.Config{Dir: filepath.Join(state, "store")})
	if err != nil {
		t.Fatal(err)
	}
	defer kv.Close()
	box, err := kv.Outbox(filepath.Base(names[0]), store.OutboxConfig{MaxBytes: 4 << 30})
	if err != nil {
		t.Fatal(err)
	}
	c := &farTally{mark: map[string][2]int64{}}
	for after := uint64(0); after < box.Status().Appended; {
		var faults []error
		err := box.Read(t.Context(), after, 1000, func(_, seq uint64, record []byte, lost uint64) {
			if after = seq; lost > 0 {
				t.Fatalf("%d records up to %d are lost from the history", lost, seq)
			}
			faults = append(faults, c.take(record))
		})
		if err := errors.Join(append(faults, err)...); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// take looks at a record of the router's history: a list with the topic in third place
// and the payload in the last two. It says what is wrong with it.
func (c *farTally) take(record []byte) error {
	l, _, err := serialize.Values(wamp.RawPayload(wamp.CBOR, record, nil))
	if err != nil || len(l) != 11 {
		return fmt.Errorf("no record of a history: %v, %w", l, err)
	}
	topic, _ := l[2].(string)
	args, _ := l[9].([]byte)
	kwargs, _ := l[10].([]byte)
	values, envelope, err := serialize.Values(wamp.RawPayload(wamp.CBOR, args, kwargs))
	if err != nil || len(values) != 1 {
		return fmt.Errorf("%s: %v, %w", topic, values, err)
	}
	value := values[0]
	if d, ok := value.(wamp.Dict); ok { // as kind mqtt has it
		value, envelope = d["value"], d
	}
	if envelope["live"] == true {
		c.live++
		return nil
	}
	number := func(v any) int64 { n, _ := v.(int64); return n }
	at, was := [2]int64{number(envelope["ep"]), number(envelope["seq"])}, c.mark[topic]
	switch v := number(value); {
	case v/7 != at[1]-1 || topic != fmt.Sprintf("gantry.field.point.r%d.temperature", v%7):
		return fmt.Errorf("%s: nobody published %d with %v", topic, v, at)
	case at[0] == was[0] && at[1] <= was[1]:
		c.copies++
	case at[0] != 1 || at[1] != was[1]+1:
		return fmt.Errorf("%s: %v came when number %d was due", topic, at, was[1]+1)
	default:
		c.mark[topic] = at
		c.total++
	}
	return nil
}

// TestFarTally has the judge look at what is wrong.
func TestFarTally(t *testing.T) {
	t.Parallel()
	record := func(seq, value int64) []byte {
		t.Helper()
		p, err := serialize.Encode(wamp.CBOR, wamp.Values(wamp.List{value}, wamp.Dict{"ep": int64(1), "seq": seq}))
		if err != nil {
			t.Fatal(err)
		}
		args, kwargs := p.Raw()
		b, err := serialize.AppendValue(nil, wamp.CBOR, wamp.List{0, 0, "gantry.field.point.r0.temperature", 0, "", "", nil, nil, nil, args, kwargs})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, c := range []struct {
		name   string
		seqs   []int64
		values []int64 // by seq, from 1
		wrong  bool
	}{
		{"in order, with copies", []int64{1, 2, 3, 2, 3, 4}, []int64{0, 7, 14, 21}, false},
		{"one is lost", []int64{1, 2, 4}, []int64{0, 7, 14, 21}, true},
		{"the first is lost", []int64{2}, []int64{0, 7}, true},
		{"one overtakes", []int64{1, 3, 2, 4}, []int64{0, 7, 14, 21}, true},
		{"one is altered", []int64{1, 2}, []int64{0, 8}, true},
		{"two have changed places", []int64{1, 2, 3}, []int64{0, 14, 7}, true},
	} {
		tally := &farTally{mark: map[string][2]int64{}}
		var faults []error
		for _, seq := range c.seqs {
			faults = append(faults, tally.take(record(seq, c.values[seq-1])))
		}
		if err := errors.Join(faults...); (err != nil) != c.wrong {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
