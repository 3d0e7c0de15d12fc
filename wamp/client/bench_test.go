package client_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/router"
	"gantry/wamp/transport"
)

// bench is a router behind every transport.
type bench struct {
	b      *testing.B
	router *router.Router
	addr   string
}

func startBench(b *testing.B) *bench {
	b.Helper()
	r, err := router.New(router.Config{Realms: []router.RealmConfig{{Name: "realm1"}}}, nil)
	if err != nil {
		b.Fatal(err)
	}
	srv, err := transport.NewServer(transport.ServerConfig{Options: transport.Options{Batched: true}}, r.Admit, nil)
	if err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = r.Run(ctx) })
	wg.Go(func() { _ = srv.Serve(ctx, l) })
	b.Cleanup(func() { cancel(); wg.Wait() })
	return &bench{b: b, router: r, addr: l.Addr().String()}
}

// link is one way to reach the router.
type link struct {
	name   string
	scheme string // "" = in process
	format wamp.Format
	opts   transport.Options // of the client
}

func links() []link {
	all := []link{{name: "pipe"}}
	for _, scheme := range []string{"ws", "rs"} {
		for _, f := range []wamp.Format{wamp.JSON, wamp.MsgPack, wamp.CBOR} {
			all = append(all, link{scheme + "/" + f.String(), scheme, f, transport.Options{}})
		}
	}
	return append(all,
		link{"batched/cbor", "ws", wamp.CBOR, transport.Options{Batched: true}},
		link{"lp/cbor", "lp", wamp.CBOR, transport.Options{}})
}

func (w *bench) join(l link) *client.Session {
	w.b.Helper()
	ctx := context.Background()
	var p wamp.Peer
	var err error
	switch l.scheme {
	case "":
		c, r := transport.Pipe(transport.PipeConfig{})
		done := make(chan struct{})
		go func() { defer close(done); w.router.Accept(ctx, r) }()
		w.b.Cleanup(func() { <-done })
		p = c
	default:
		p, err = transport.Dial(ctx, l.scheme+"://"+w.addr, transport.DialConfig{Options: l.opts, Formats: []wamp.Format{l.format}})
	}
	if err != nil {
		w.b.Fatal(err)
	}
	s, err := client.Join(ctx, p, client.SessionConfig{Realm: "realm1"})
	if err != nil {
		w.b.Fatal(err)
	}
	w.b.Cleanup(func() { _ = s.Leave(ctx) })
	return s
}

var reading = wamp.Values(wamp.List{21.5}, wamp.Dict{"ts": int64(1700000000000000), "q": "good", "unit": "Cel", "seq": 4711, "ep": 3, "clk": "sync"})

// BenchmarkCallRoundTrip is a call through client, router and client, one at a
// time and 64 in flight.
func BenchmarkCallRoundTrip(b *testing.B) {
	for _, l := range links() {
		for _, flight := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/inflight=%d", l.name, flight), func(b *testing.B) {
				w := startBench(b)
				callee, caller := w.join(l), w.join(l)
				ctx := context.Background()
				if _, err := callee.Register(ctx, "echo", wamp.RegisterOptions{}, echo); err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				b.ResetTimer()
				var left atomic.Int64
				left.Store(int64(b.N))
				var wg sync.WaitGroup
				for range flight {
					wg.Go(func() {
						for left.Add(-1) >= 0 {
							if _, err := caller.Call(ctx, "echo", wamp.CallOptions{}, reading); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
			})
		}
	}
}

// BenchmarkFanOut is one publication to 1, 10 and 100 subscribers; an operation is
// one event delivered.
func BenchmarkFanOut(b *testing.B) {
	for _, l := range links() {
		for _, n := range []int{1, 10, 100} {
			b.Run(fmt.Sprintf("%s/subscribers=%d", l.name, n), func(b *testing.B) {
				w := startBench(b)
				ctx := context.Background()
				var got atomic.Int64
				window := make(chan struct{}, 16*n)
				for range n {
					if _, err := w.join(l).Subscribe(ctx, "x", wamp.SubscribeOptions{}, func(*wamp.Event) {
						got.Add(1)
						<-window
					}); err != nil {
						b.Fatal(err)
					}
				}
				pub := w.join(l)
				b.ReportAllocs()
				b.ResetTimer()
				for range (b.N + n - 1) / n {
					for range n {
						window <- struct{}{}
					}
					if err := pub.Publish(ctx, "x", wamp.PublishOptions{}, reading); err != nil {
						b.Fatal(err)
					}
				}
				for range cap(window) { // the last events have arrived
					window <- struct{}{}
				}
			})
		}
	}
}

// BenchmarkTypedCall is a call with Go values: inside the process they are handed
// over as they are.
func BenchmarkTypedCall(b *testing.B) {
	type point struct {
		Value float64 `wamp:"0"`
		Unit  string  `wamp:"unit"`
	}
	for _, l := range links() {
		b.Run(l.name, func(b *testing.B) {
			w := startBench(b)
			callee, caller := w.join(l), w.join(l)
			ctx := context.Background()
			if _, err := client.Register(ctx, callee, "scale", func(_ context.Context, p point) (point, error) { return p, nil }); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := client.Call[point](ctx, caller, "scale", point{21.5, "Cel"}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
