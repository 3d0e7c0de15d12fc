package router

import (
	"context"
	"fmt"
	"testing"

	"gantry/wamp"
)

// sink is a peer that takes everything and keeps nothing.
type sink struct{ sent int }

func (s *sink) Recv() (wamp.Message, error)                  { return nil, wamp.ErrClosed }
func (s *sink) TrySend(wamp.Message) error                   { s.sent++; return nil }
func (s *sink) Send(_ context.Context, m wamp.Message) error { return s.TrySend(m) }
func (s *sink) Close() error                                 { return nil }
func (s *sink) Info() wamp.PeerInfo                          { return wamp.PeerInfo{Transport: "pipe", Local: true} }
func member(r *realm, id wamp.ID) *session                   { return &session{id: id, peer: &sink{}, realm: r} }
func benchRealm(b *testing.B) *realm {
	b.Helper()
	r, err := New(Config{Realms: []RealmConfig{{Name: "realm1"}}}, nil)
	if err != nil {
		b.Fatal(err)
	}
	return r.realms["realm1"]
}

// BenchmarkCall is the dealer's share of a call with its result: no codec, no
// socket.
func BenchmarkCall(b *testing.B) {
	r := benchRealm(b)
	callee, caller := member(r, 1), member(r, 2)
	r.dealer.register(callee, &wamp.Register{Request: 1, Procedure: "gantry.barn.set.pump.run"})
	payload := wamp.RawPayload(wamp.JSON, []byte(`[true]`), nil)
	call := &wamp.Call{Procedure: "gantry.barn.set.pump.run", Payload: payload}
	yield := &wamp.Yield{Payload: payload}
	b.ReportAllocs()
	for b.Loop() {
		call.Request++
		r.dealer.call(caller, call, false)
		yield.Request++
		r.dealer.yield(callee, yield)
	}
}

// BenchmarkPublish is the broker's share of one publication: no codec, no socket.
func BenchmarkPublish(b *testing.B) {
	for _, n := range []int{0, 1, 10, 100, 1000} {
		for _, match := range []wamp.Match{wamp.MatchExact, wamp.MatchWildcard} {
			topic := wamp.URI("gantry.barn.point.pump.power")
			if match == wamp.MatchWildcard {
				topic = "gantry..point..power"
			}
			b.Run(fmt.Sprintf("%s/%d", match, n), func(b *testing.B) {
				r := benchRealm(b)
				pub := member(r, 1)
				for i := range n {
					r.broker.subscribe(member(r, wamp.ID(i+2)), &wamp.Subscribe{Request: 1, Topic: topic, Options: wamp.SubscribeOptions{Match: match}})
				}
				m := &wamp.Publish{Topic: "gantry.barn.point.pump.power", Payload: wamp.RawPayload(wamp.JSON, []byte(`[21.5]`), nil)}
				b.ReportAllocs()
				for b.Loop() {
					r.broker.publish(pub, m)
				}
			})
		}
	}
}
