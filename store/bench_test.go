package store

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// reading returns a reading of 200 bytes as the gateway stores it.
func reading(n int) []byte {
	b := fmt.Appendf(nil, `gantry.gw1.point.boiler_%d.temperature [%d.%02d] {"ts":17639999%08d,"q":"good","unit":"Cel","seq":%d,"ep":3,"clk":"sync"}`,
		n%8, 20+n%60, n%100, n*1000, n)
	return append(b, bytes.Repeat([]byte{' '}, max(0, 200-len(b)))...)
}

// written returns the bytes that this process has handed to the block layer.
func written() uint64 {
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0
	}
	_, v, _ := bytes.Cut(b, []byte("\nwrite_bytes: "))
	v, _, _ = bytes.Cut(v, []byte("\n"))
	n, _ := strconv.ParseUint(string(v), 10, 64)
	return n
}

func benchmark(b *testing.B, cfg OutboxConfig, fn func(r *rig)) {
	cfg.MaxBytes = 1 << 30
	r := start(b, b.TempDir(), cfg)
	before := written()
	b.ResetTimer()
	fn(r)
	if err := r.o.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "readings/s")
	b.ReportMetric(float64(written()-before)/float64(b.N), "disk-B/reading")
	r.stop(b)
}

func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct{ appenders, batch int }{{1, 1}, {64, 1}, {8, 100}} {
		b.Run(fmt.Sprintf("confirmed/appenders=%d/batch=%d", c.appenders, c.batch), func(b *testing.B) {
			benchmark(b, OutboxConfig{}, func(r *rig) {
				var left atomic.Int64
				left.Store(int64(b.N))
				var wg sync.WaitGroup
				for range c.appenders {
					wg.Go(func() {
						for n := left.Add(int64(-c.batch)); n > int64(-c.batch); n = left.Add(int64(-c.batch)) {
							batch := make([][]byte, min(c.batch, int(n)+c.batch))
							for i := range batch {
								batch[i] = reading(int(n) + i + c.batch)
							}
							if _, err := r.o.AppendAll(b.Context(), batch...); err != nil {
								b.Error(err)
							}
						}
					})
				}
				wg.Wait()
			})
		})
	}
	b.Run("urgent", func(b *testing.B) {
		benchmark(b, OutboxConfig{}, func(r *rig) {
			for i := range b.N {
				if _, err := r.o.Enqueue(b.Context(), reading(i), true); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
	b.Run("sampled/offline", func(b *testing.B) {
		benchmark(b, OutboxConfig{}, func(r *rig) {
			for i := range b.N {
				if _, err := r.o.Enqueue(b.Context(), reading(i), false); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
	b.Run("sampled/online", func(b *testing.B) {
		benchmark(b, OutboxConfig{}, func(r *rig) {
			for i := range b.N {
				seq, err := r.o.Enqueue(b.Context(), reading(i), false)
				if err != nil {
					b.Fatal(err)
				}
				if i%50 == 0 {
					if err := r.o.Ack(b.Context(), seq); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	})
}

// BenchmarkPaced appends 1,000 sampled readings a second while nothing is
// acknowledged, and reports what that costs the disk.
func BenchmarkPaced(b *testing.B) {
	benchmark(b, OutboxConfig{}, func(r *rig) {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for i := range b.N {
			if i%20 == 0 {
				<-tick.C
			}
			if _, err := r.o.Enqueue(b.Context(), reading(i), false); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkDrain(b *testing.B) {
	dir := b.TempDir()
	r := start(b, dir, OutboxConfig{MaxBytes: 1 << 30})
	for i := range b.N {
		if _, err := r.o.Enqueue(b.Context(), reading(i), false); err != nil {
			b.Fatal(err)
		}
	}
	r.stop(b)
	r = start(b, dir, OutboxConfig{MaxBytes: 1 << 30})
	defer r.stop(b)
	b.ResetTimer()
	last := r.o.Status().Appended
	for after := uint64(0); after < last; {
		err := r.o.Read(b.Context(), after, 256, func(_, seq uint64, _ []byte, _ uint64) { after = seq })
		if err != nil {
			b.Fatal(err)
		}
		if err := r.o.Ack(b.Context(), after); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "readings/s")
}

// BenchmarkReady opens a store with a million readings that wait, and reads the
// first one.
func BenchmarkReady(b *testing.B) {
	dir := b.TempDir()
	cfg := OutboxConfig{MaxBytes: 1 << 30}
	r := start(b, dir, cfg)
	for i := range 1_000_000 {
		if _, err := r.o.Enqueue(b.Context(), reading(i), false); err != nil {
			b.Fatal(err)
		}
	}
	r.stop(b)
	for b.Loop() {
		r := start(b, dir, cfg)
		if err := r.o.Read(b.Context(), 0, 1, func(_, _ uint64, _ []byte, _ uint64) {}); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		r.stop(b)
		b.StartTimer()
	}
}
