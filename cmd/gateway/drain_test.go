package main

import (
	"bytes"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

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

// peakMiB returns the most memory that a program has held.
func peakMiB(b *testing.B, p *program) float64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	_, line, _ := bytes.Cut(status, []byte("VmHWM:"))
	kib, err := strconv.Atoi(strings.Fields(string(line))[0])
	if err != nil {
		b.Fatal(err)
	}
	return float64(kib) / 1024
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

func drainBacklog(b *testing.B, scheme string, readings int) {
	config := func(url string) string {
		return writeFiles(b, map[string]string{"gantry.toml": "schema = 1\ngateway.name = \"field\"\nmqtt.listen = \"\"\n[uplink.hq]\n" +
			"forward = [\"point\"]\nbuffer.max_bytes = 1073741824\nurl = \"" + url + "\"\n"})
	}
	state := b.TempDir()
	field := startProgram(b, config("rs://127.0.0.1:1"), state)
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
	field = startProgram(b, config(far.String()), state)
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
	b.ReportMetric(peakMiB(b, field), "MiB-peak")
	b.ReportMetric(ready.Seconds(), "s-to-ready")
	field.stop()
	hq.stop()
}
