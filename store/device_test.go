package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gantry/internal/lyingfs"
)

// deviceStat returns the bytes that a block device has written so far, and its flushes.
// Source: Documentation/block/stat.rst of the kernel.
func deviceStat(b *testing.B, device string) (written, flushes int64) {
	b.Helper()
	text, err := os.ReadFile(filepath.Join("/sys/block", device, "stat"))
	if f := strings.Fields(string(text)); len(f) > 15 {
		written, err = strconv.ParseInt(f[6], 10, 64)
		flushes, _ = strconv.ParseInt(f[15], 10, 64)
	}
	if err != nil || written == 0 {
		b.Errorf("%s: %q, %v", device, text, err)
	}
	return 512 * written, flushes
}

// BenchmarkDevice has readings of 200 bytes, 100 a second for 20 s, on an ext4 of its own
// and counts what its block device gets: pages of the store, and the inodes and the
// journal of the file system. What it takes once to make the files, some 25 flushes, is
// over by then: 2 s go before. Three stores at once, since the time is that of the clock.
func BenchmarkDevice(b *testing.B) {
	const rate, warm, long = 100, 2, 20
	type kind struct {
		name   string
		cfg    OutboxConfig
		online bool
	}
	var wg sync.WaitGroup
	for b.Loop() {
		for _, k := range []kind{{name: "online", online: true}, {name: "offline"}, {name: "wear-saver", cfg: OutboxConfig{WearSaver: true}}} {
			dir, device := lyingfs.Ext4(b, 256<<20)
			st, err := Open(Config{Dir: filepath.Join(dir, "store")})
			if err != nil {
				b.Fatal(err)
			}
			box, err := st.Outbox("up", k.cfg)
			if err != nil {
				b.Fatal(err)
			}
			wg.Go(func() {
				ctx, cancel := context.WithCancel(b.Context())
				ended := make(chan error, 1)
				go func() { ended <- st.Run(ctx) }()
				var written, flushes int64
				tick := time.NewTicker(time.Second / rate)
				defer tick.Stop()
				for n := range rate * (warm + long) {
					<-tick.C
					if n == rate*warm {
						syncAll(b, dir)
						written, flushes = deviceStat(b, device)
					}
					seq, err := box.Enqueue(ctx, reading(n), false)
					if err == nil && k.online {
						err = box.Ack(ctx, seq)
					}
					if err != nil {
						b.Error(err)
						break
					}
				}
				_, f := deviceStat(b, device) // without that of the next line
				syncAll(b, dir)
				w, _ := deviceStat(b, device)
				b.ReportMetric(float64(w-written)/(rate*long), k.name+"-B/reading")
				b.ReportMetric(float64(f-flushes)/long, k.name+"-flushes/s")
				cancel()
				if err := <-ended; err != nil {
					b.Error(err)
				}
				if err := st.Close(); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
	}
}

// syncAll has everything written that waits in a file system.
func syncAll(b *testing.B, dir string) {
	f, err := os.Open(dir)
	if err == nil {
		err = errors.Join(unix.Syncfs(int(f.Fd())), f.Close())
	}
	if err != nil {
		b.Error(err)
	}
}
