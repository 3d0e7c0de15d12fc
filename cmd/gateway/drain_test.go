package main

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gantry/internal/badline"
	"gantry/wamp"
	"gantry/wamp/serialize"
)

// backlogSize is the size in bytes of a record of fillBacklog in the queue.
const backlogSize = 200

// fillBacklog publishes readings of backlogSize bytes at a gateway field, on 20 topics
// whose streams go on where they were at the first.
func fillBacklog(b *testing.B, p *program, first, readings int) {
	b.Helper()
	s := p.join()
	for i := first; i < first+readings; i++ {
		topic := wamp.URI(fmt.Sprintf("gantry.field.point.meter.channel%02d", i%20))
		kwargs := wamp.Dict{"ts": time.Now().UnixMicro(), "q": "good", "unit": "W", "clk": "sync", "ep": int64(1), "seq": int64(i/20 + 1), "note": ""}
		encode := func() (wamp.Payload, int) {
			payload, err := serialize.Encode(wamp.CBOR, wamp.Values(wamp.List{float64(i) / 7}, kwargs))
			if err != nil {
				b.Fatal(err)
			}
			return payload, payload.Size()
		}
		// What a record has besides: head, and lengths (bridge/uplink/record.go).
		const head = 3 + 1 + 1 + 2
		_, short := encode()
		kwargs["note"] = strings.Repeat("x", backlogSize-head-1-len(topic)-short)
		payload, _ := encode()
		if err := s.Publish(b.Context(), topic, wamp.PublishOptions{Acknowledge: i%1000 == 0}, payload); err != nil {
			b.Fatal(err)
		}
	}
	// The answer says that all of them are in the queue.
	if err := s.Publish(b.Context(), "gantry.field.point.meter.end", wamp.PublishOptions{Acknowledge: true}, wamp.Args(true)); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkDrainBacklog has a gateway with a backlog send it to another one over TCP. It
// tells how fast, the CPU time of both, and the sender's largest memory. The targets are
// 20,000 readings/s and 96 MiB on two cores with nothing else to do.
func BenchmarkDrainBacklog(b *testing.B) {
	readings := 1_000_000
	if testing.Short() {
		readings /= 20
	}
	for _, scheme := range []string{"ws", "rs"} {
		b.Run(scheme, func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				drainBacklog(b, scheme, readings)
			}
		})
	}
}

// backlogConfig is the configuration of a gateway field with an uplink to url.
func backlogConfig(b *testing.B, url string) string {
	return writeFiles(b, map[string]string{"gantry.toml": "schema = 1\ngateway.name = \"field\"\nmqtt.listen = \"\"\n[uplink.hq]\n" +
		"forward = [\"point\"]\nbuffer.max_bytes = 1073741824\nurl = \"" + url + "\"\n"})
}

// nowhere is an uplink's URL with nobody there.
const nowhere = "rs://127.0.0.1:1"

func drainBacklog(b *testing.B, scheme string, readings int) {
	state := b.TempDir()
	field := startProgram(b, backlogConfig(b, nowhere), state)
	fillBacklog(b, field, 0, readings)
	field.stop()
	hq := startProgram(b, writeFiles(b, map[string]string{"gantry.toml": hqConfig}), b.TempDir())
	far, err := url.Parse(hq.url)
	if err != nil {
		b.Fatal(err)
	}
	far.Scheme = scheme
	if scheme == "rs" {
		far.Path = ""
	}
	farBefore := cpuTime(b, hq)
	b.StartTimer()
	began := time.Now()
	field = startProgram(b, backlogConfig(b, far.String()), state)
	ready := time.Since(began)
	s := field.join()
	var status wamp.Dict
	for late := time.Now().Add(20 * patience); status == nil || status["depth"] != int64(0); time.Sleep(10 * time.Millisecond) {
		if status, err = queueStatus(b.Context(), s); err != nil || time.Now().After(late) {
			b.Fatal(status, err)
		}
	}
	took := time.Since(began) - ready
	b.StopTimer()
	if status["lost"] != int64(0) || status["dead_letters"] != int64(0) || status["acknowledged"].(int64) <= int64(readings) {
		b.Error(status)
	}
	per := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(readings) }
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(readings)/took.Seconds(), "readings/s")
	b.ReportMetric(per(cpuTime(b, field)), "us-cpu/reading")
	b.ReportMetric(per(cpuTime(b, hq)-farBefore), "far-us-cpu/reading")
	b.ReportMetric(float64(field.status("VmHWM"))/(1<<20), "MiB-peak")
	b.ReportMetric(ready.Seconds(), "s-to-ready")
	field.stop()
	hq.stop()
}

// BenchmarkLiveBesideBacklog drains a backlog over a line of 64 kbit/s, with a reading every
// 100 ms, and tells how long it takes until the far side knows each, or a newer one of its
// point. The target is a second.
func BenchmarkLiveBesideBacklog(b *testing.B) {
	const backlog, live = 5000, 300
	for range b.N {
		b.StopTimer()
		state := b.TempDir()
		field := startProgram(b, backlogConfig(b, nowhere), state)
		fillBacklog(b, field, 0, backlog)
		field.stop()
		hq := startProgram(b, writeFiles(b, map[string]string{"gantry.toml": hqConfig}), b.TempDir())
		far, err := url.Parse(hq.url)
		if err != nil {
			b.Fatal(err)
		}
		var mu sync.Mutex // guards what follows
		var sent [live]time.Time
		var late []time.Duration
		if _, err := hq.join().Subscribe(b.Context(), "gantry.field.point.live.value", wamp.SubscribeOptions{}, func(ev *wamp.Event) {
			var n int
			if serialize.Arg(ev.Payload, 0, &n) != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			for len(late) <= n {
				late = append(late, time.Since(sent[len(late)]))
			}
		}); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		field = startProgram(b, backlogConfig(b, "ws://"+badline.New(b, far.Host, 64_000/8).Addr()+"/ws"), state)
		s := field.join()
		tick := time.NewTicker(100 * time.Millisecond)
		for i := range live {
			mu.Lock()
			sent[i] = time.Now()
			mu.Unlock()
			if err := s.Publish(b.Context(), "gantry.field.point.live.value", wamp.PublishOptions{},
				wamp.Values(wamp.List{int64(i)}, wamp.Dict{"ep": int64(1), "seq": int64(i + 1), "q": "good"})); err != nil {
				b.Fatal(err)
			}
			<-tick.C
		}
		tick.Stop()
		b.StopTimer()
		status, err := queueStatus(b.Context(), s)
		if err != nil {
			b.Fatal(err)
		}
		mu.Lock()
		slices.Sort(late)
		if len(late) < live*9/10 || status["depth"].(int64) < backlog/10 {
			b.Errorf("%d values of %d have come; %v", len(late), live, status)
		}
		b.ReportMetric(0, "ns/op")
		for name, share := range map[string]int{"p50": 50, "p99": 99, "max": 100} {
			b.ReportMetric(float64(late[(len(late)-1)*share/100].Milliseconds()), "ms-late-"+name)
		}
		b.ReportMetric(float64(status["depth"].(int64)), "still-waiting")
		mu.Unlock()
		field.kill()
		hq.stop()
	}
}
