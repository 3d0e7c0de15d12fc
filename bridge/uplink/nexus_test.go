package uplink_test

import (
	"context"
	"testing"
	"time"

	"gantry/bridge/uplink"
	"gantry/wamp"
	"gantry/wamp/interop"
	"gantry/wamp/transport"
)

// offer registers a procedure at the gateway that returns its argument; the returned
// function takes it back.
func (s *setup) offer(procedure wamp.URI) (undo func(context.Context) error) {
	s.t.Helper()
	undo, err := s.hub.Register(context.Background(), procedure, wamp.RegisterOptions{},
		func(_ context.Context, inv *wamp.Invocation, _ func(wamp.Payload) error) (wamp.Payload, error) {
			return inv.Payload, nil
		})
	if err != nil {
		s.t.Fatal(err)
	}
	return undo
}

// TestNexus has nexus as the far router, which is killed and comes back: events arrive,
// and its callers reach the gateway's procedures; also where it registers no patterns, for
// procedures that come and go.
func TestNexus(t *testing.T) {
	t.Parallel()
	kind := interop.Nexus()
	library := kind.Need(t)
	for name, exact := range map[string]bool{"patterns": false, "exact": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			router := interop.NewRouter(t, exact)
			s := newSetup(t, t.TempDir(), uplink.Config{URL: router.URL(), Forward: []string{"point"}, NoLive: true}, func(ctx context.Context) (wamp.Peer, error) {
				return transport.Dial(ctx, router.URL(), transport.DialConfig{})
			})
			defer s.stop()
			s.offer("gantry.g1.set.relay.state")
			last := 0
			for round := range 2 {
				far := library.Start(t)
				far.Join(interop.Join{URL: router.URL(), Realm: "gantry", Serializer: "json"})
				far.OK(map[string]any{"op": "subscribe", "topic": "gantry.g1.point.", "match": "prefix"})
				reaches := func(procedure string, want bool) {
					t.Helper()
					late := time.Now().Add(interop.Patience)
					for {
						r := far.Do(map[string]any{"op": "call", "procedure": procedure, "args": []any{7}})
						if ok, _ := r["ok"].(map[string]any); (ok != nil) == want {
							if args, _ := ok["args"].([]any); want && (len(args) != 1 || args[0] != 7.0) {
								t.Fatalf("round %d: %s returns %v", round, procedure, r)
							}
							return
						}
						if time.Now().After(late) {
							t.Fatalf("round %d: %s: %v", round, procedure, r)
						}
						select {
						case <-time.After(10 * time.Millisecond):
						case <-t.Context().Done():
						}
					}
				}
				reaches("gantry.g1.set.relay.state", true)
				undo := s.offer("gantry.g1.do.relay.pulse")
				reaches("gantry.g1.do.relay.pulse", true)
				if err := undo(t.Context()); err != nil {
					t.Fatal(err)
				}
				reaches("gantry.g1.do.relay.pulse", false)
				reaches("gantry.g1.sys.queue.status", false) // no class of Serve
				s.publish("temp", last+1, last+50)
				for next := last + 1; next <= last+50; {
					m := far.Until("events", func(m map[string]any) bool { return m["event"] == "event" })
					args, _ := m["args"].([]any)
					v, _ := args[0].(float64)
					if int(v) > next {
						t.Fatalf("round %d: %v came in place of %d", round, v, next)
					}
					if int(v) == next {
						next++
					}
				}
				last += 50
				s.acknowledged(uint64(last))
				far.Kill()
				router.Kill()
				if round == 0 {
					router.Start()
				}
			}
		})
	}
}
