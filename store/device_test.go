package store

import (
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
// Then the same in stores where a million readings had been waiting for their uplink.
func BenchmarkDevice(b *testing.B) {
	for b.Loop() {
		for _, waiting := range []int{0, 1_000_000} {
			var stores []*deviceStore
			for _, s := range []*deviceStore{
				{name: "online", online: true},
				{name: "offline"},
				{name: "wear-saver", cfg: OutboxConfig{WearSaver: true}},
			} {
				s.open(b)
				if waiting > 0 {
					s.name += "-drained"
					s.burst(b, waiting)
				}
				stores = append(stores, s)
			}
			var wg sync.WaitGroup
			for _, s := range stores {
				wg.Go(func() { s.paced(b) })
			}
			wg.Wait()
			for _, s := range stores {
				s.stop(b)
			}
		}
	}
}

// deviceStore is a store on a file system of its own.
type deviceStore struct {
	*rig
	name        string
	cfg         OutboxConfig
	online      bool
	dir, device string
}

// open makes the file system large enough for mkfs to give it the blocks of 4 KiB that
// those of gateways have; below 512 MiB they are of 1 KiB, and cost half.
func (s *deviceStore) open(b *testing.B) {
	s.dir, s.device = lyingfs.Ext4(b, 1<<30)
	s.cfg.MaxBytes = 512 << 20
	s.rig = start(b, filepath.Join(s.dir, "store"), s.cfg)
}

// burst appends n readings as fast as it goes and drains them, as an uplink does that
// gets an answer for each, and reports what both cost.
func (s *deviceStore) burst(b *testing.B, n int) {
	syncAll(b, s.dir)
	began := time.Now()
	written, flushes := deviceStat(b, s.device)
	for i := range n {
		if _, err := s.o.Enqueue(b.Context(), reading(i), false); err != nil {
			b.Fatal(err)
		}
	}
	for after := uint64(0); after < uint64(n); {
		err := s.o.Read(b.Context(), after, 256, func(_, seq uint64, _ []byte, lost uint64) {
			if lost > 0 {
				b.Error("lost: ", lost)
			}
			for ; after < seq; after++ {
				if err := s.o.Ack(b.Context(), after+1); err != nil {
					b.Error(err)
				}
			}
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	s.report(b, s.name+"-burst", n, began, written, flushes)
}

// paced has readings come at their rate, those that are late at once.
func (s *deviceStore) paced(b *testing.B) {
	const rate, warm, long = 100, 2, 20
	var began time.Time
	var written, flushes int64
	first := time.Now()
	for n := range rate * (warm + long) {
		time.Sleep(time.Until(first.Add(time.Duration(n) * time.Second / rate)))
		if n == rate*warm {
			syncAll(b, s.dir)
			began = time.Now()
			written, flushes = deviceStat(b, s.device)
		}
		seq, err := s.o.Enqueue(b.Context(), reading(n), false)
		if err == nil && s.online {
			err = s.o.Ack(b.Context(), seq)
		}
		if err != nil {
			b.Error(err)
			return
		}
	}
	time.Sleep(time.Until(first.Add((warm + long) * time.Second)))
	s.report(b, s.name, rate*long, began, written, flushes)
}

// report reports what n readings have cost since.
func (s *deviceStore) report(b *testing.B, name string, n int, began time.Time, written, flushes int64) {
	_, f := deviceStat(b, s.device) // without that of the next line
	took := time.Since(began)
	syncAll(b, s.dir)
	w, _ := deviceStat(b, s.device)
	b.ReportMetric(float64(w-written)/float64(n), name+"-B/reading")
	b.ReportMetric(float64(f-flushes)/took.Seconds(), name+"-flushes/s")
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
