package main

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"gantry/store"
)

// asFiller in the environment makes the test binary a program that fills the outbox of
// uplink hq in the state directory named, until it is killed.
const asFiller = "GANTRY_TEST_FILL"

// backlog is how many readings wait when the gateway is killed.
const backlog = 1_000_000

// fillOutbox appends readings of 200 bytes and prints how many are on disk.
func fillOutbox(state string) error {
	st, err := store.Open(store.Config{Dir: filepath.Join(state, "store")})
	if err != nil {
		return err
	}
	box, err := st.Outbox("hq", store.OutboxConfig{})
	if err != nil {
		return err
	}
	ctx := context.Background()
	ended := make(chan error, 1)
	go func() { ended <- st.Run(ctx) }()
	rnd := rand.New(rand.NewPCG(1, 1))
	for n := 1; ; n++ {
		b := fmt.Appendf(nil, `gantry.field.point.boiler_%d.temperature [%.3f] {"ts":%d,"q":"good","unit":"Cel","seq":%d,"ep":1,"clk":"sync"}`,
			n%50, 20+rnd.NormFloat64(), 1_790_000_000_000_000+int64(n)*10_000, n)
		b = append(b, make([]byte, max(0, 200-len(b)))...)
		if _, err := box.Enqueue(ctx, b, false); err != nil {
			return err
		}
		if n%10_000 == 0 {
			fmt.Println(box.Committed())
		}
	}
}

// BenchmarkReadyAfterACut kills a gateway that fills its outbox when a million readings
// wait there, and starts it again.
func BenchmarkReadyAfterACut(b *testing.B) {
	state := b.TempDir()
	config := writeFiles(b, map[string]string{"gantry.toml": "schema = 1\ngateway.name = \"field\"\nmqtt.listen = \"\"\n" +
		"[uplink.hq]\nurl = \"rs+unix:///nowhere/gantry.sock\"\nforward = [\"point\"]\n"})
	startProgram(b, config, state).stop()

	filler := exec.Command(os.Args[0])
	filler.Env = append(os.Environ(), asFiller+"="+state)
	filler.Stderr = os.Stderr
	out, err := filler.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := filler.Start(); err != nil {
		b.Fatal(err)
	}
	for in := bufio.NewScanner(out); in.Scan(); {
		if n, _ := strconv.Atoi(in.Text()); n >= backlog {
			break
		}
	}
	_ = filler.Process.Kill()
	_ = filler.Wait()

	var took time.Duration
	peak := int64(0)
	runs := 0
	for b.Loop() {
		begin := time.Now()
		p := startProgram(b, config, state)
		took += time.Since(begin)
		runs++
		peak = max(peak, p.status("VmHWM"))
		p.kill()
	}
	b.ReportMetric(float64(took.Milliseconds())/float64(runs), "ready-ms")
	b.ReportMetric(float64(peak)/(1<<20), "peak-MiB")
}
