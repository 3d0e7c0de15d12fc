package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"gantry/internal/badline"
	"gantry/wamp"
	"gantry/wamp/client"
)

// BenchmarkWaysToFetch fetches the same bytes one call after the other, by several calls
// at a time and by progressive results, over lines of three kinds (docs/files.md). What
// fails says so in place of a rate.
//
//	go test ./cmd/gateway -run xxx -bench WaysToFetch -benchtime 1x
func BenchmarkWaysToFetch(b *testing.B) {
	p := startProgram(b, writeFiles(b, map[string]string{"gantry.toml": laterConfig}), b.TempDir())
	content := noise(8 << 20)
	type span struct {
		Offset int64 `wamp:"0"`
		Size   int64 `wamp:"1"`
	}
	callee := p.join()
	part := func(s span, end int64) []byte { return content[min(s.Offset, end):min(s.Offset+s.Size, end)] }
	for name, serve := range map[wamp.URI]func(context.Context, span) ([]byte, error){
		"bench.read": func(_ context.Context, s span) ([]byte, error) { return part(s, int64(len(content))), nil },
		"bench.stream": func(ctx context.Context, s span) ([]byte, error) {
			for ; s.Offset < int64(len(content)); s.Offset += s.Size {
				if err := client.Progress(ctx, part(s, int64(len(content)))); err != nil {
					return nil, err
				}
			}
			return nil, nil
		},
	} {
		if _, err := client.Register(b.Context(), callee, name, serve); err != nil {
			b.Fatal(err)
		}
	}
	window := func(calls int, size int64) func(context.Context, *client.Session, int64) (int64, error) {
		return func(ctx context.Context, s *client.Session, total int64) (int64, error) {
			g, ctx := errgroup.WithContext(ctx)
			g.SetLimit(calls)
			for offset := int64(0); offset < total; offset += size {
				g.Go(func() error {
					_, err := client.Call[[]byte](ctx, s, "bench.read", offset, size)
					return err
				})
			}
			return total, g.Wait()
		}
	}
	ways := []struct {
		name  string
		fetch func(context.Context, *client.Session, int64) (int64, error)
	}{
		{"one call of 256 KiB", window(1, 256<<10)},
		{"one call of 64 KiB", window(1, 64<<10)},
		{"2 calls of 256 KiB", window(2, 256<<10)},
		{"4 calls of 64 KiB", window(4, 64<<10)},
		{"8 calls of 256 KiB", window(8, 256<<10)},
		{"progressive, 64 KiB", func(ctx context.Context, s *client.Session, total int64) (n int64, err error) {
			args := wamp.Args(int64(len(content))-total, int64(64<<10))
			_, err = s.CallProgress(ctx, "bench.stream", wamp.CallOptions{}, args, func(p wamp.Payload) { n += int64(p.Size()) })
			return n, err
		}},
	}
	for _, line := range []struct {
		name  string
		rate  int
		delay time.Duration
		total int64
	}{{"near", 0, 0, 8 << 20}, {"50 ms there and back", 0, 25 * time.Millisecond, 8 << 20}, {"2 MiB per s", 2 << 20, 0, 8 << 20}} {
		for _, way := range ways {
			b.Run(line.name+"/"+way.name, func(b *testing.B) {
				l := badline.NewLong(b, p.host(), line.rate, line.delay)
				for range b.N {
					dial := func(ctx context.Context) (wamp.Peer, error) { return dialRouter(ctx, "rs://"+l.Addr(), "") }
					s, err := client.Connect(b.Context(), dial, client.SessionConfig{Realm: "gantry"})
					if err != nil {
						b.Fatal(err)
					}
					begin := time.Now()
					n, err := way.fetch(b.Context(), s, line.total)
					if err != nil {
						b.Logf("after %d bytes: %s", n, fmt.Sprintf("%.100s", err))
					} else {
						b.ReportMetric(float64(n)/(1<<20)/time.Since(begin).Seconds(), "MiB/s")
					}
					_ = s.Close()
				}
			})
		}
	}
}

// BenchmarkHistoryExport exports histories on disk of two lengths: an event of the
// longer one takes no longer.
//
//	go test ./cmd/gateway -run xxx -bench HistoryExport -benchtime 1x
func BenchmarkHistoryExport(b *testing.B) {
	for _, n := range []int{25_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p := startProgram(b, writeFiles(b, map[string]string{"gantry.toml": keptConfig}), b.TempDir())
			s := p.join()
			for i := range n {
				o := wamp.PublishOptions{Acknowledge: i%100 == 99}
				if err := s.Publish(b.Context(), "t.x", o, wamp.Values(wamp.List{i}, wamp.Dict{"unit": "Cel"})); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				if out := p.command("history", "export", "t.", "--match", "prefix"); strings.Count(out, "\n") != n {
					b.Fatalf("%d lines", strings.Count(out, "\n"))
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "us/event")
		})
	}
}
