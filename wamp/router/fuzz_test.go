package router_test

import (
	"testing"
	"testing/synctest"

	"gantry/wamp"
	"gantry/wamp/router"
)

// script turns fuzzed bytes into choices.
type script []byte

func (s *script) next() byte {
	if len(*s) == 0 {
		return 0
	}
	b := (*s)[0]
	*s = (*s)[1:]
	return b
}

func (s *script) id() wamp.ID { return wamp.ID(s.next() % 8) }

func (s *script) uri() wamp.URI {
	uris := []wamp.URI{"", "a", "a.b", "a.b.c", "a..c", "..", "a b", "wamp.x", ".", "b.b.c",
		"wamp.session.kill_all", "wamp.session.on_leave", "wamp.", "wamp.session.list"}
	return uris[int(s.next())%len(uris)]
}

// message draws one message, of any type and with any content.
func (s *script) message() wamp.Message {
	match := func() wamp.Match {
		return []wamp.Match{wamp.MatchExact, wamp.MatchPrefix, wamp.MatchWildcard, wamp.MatchInvalid}[s.next()%4]
	}
	flag := func() bool { return s.next()&1 == 1 }
	passthru := func() *wamp.Passthru {
		if !flag() {
			return nil
		}
		return &wamp.Passthru{Scheme: []string{"", "x_test"}[s.next()%2]}
	}
	switch s.next() % 14 {
	case 0:
		return &wamp.Subscribe{Request: s.id(), Topic: s.uri(), Options: wamp.SubscribeOptions{Match: match(), GetRetained: flag()}}
	case 1:
		return &wamp.Unsubscribe{Request: s.id(), Subscription: s.id()}
	case 2, 3:
		o := wamp.PublishOptions{Acknowledge: flag(), IncludeMe: flag(), DiscloseMe: flag(), Retain: flag(), Unretain: flag(), Passthru: passthru()}
		if flag() {
			o.Filter = &wamp.PublishFilter{Exclude: []wamp.ID{s.id()}, EligibleAuthID: []string{"a", "b"}[:s.next()%3]}
		}
		if flag() {
			o.Once = &wamp.Once{Stream: string(s.uri()), Epoch: uint64(s.next()), Seq: uint64(s.next())}
		}
		return &wamp.Publish{Request: s.id(), Topic: s.uri(), Options: o}
	case 4:
		return &wamp.Register{Request: s.id(), Procedure: s.uri(), Options: wamp.RegisterOptions{
			Match: match(), Invoke: wamp.Invoke(s.next() % 6), Concurrency: uint32(s.next() % 3), ForceReregister: flag(), DiscloseCaller: flag()}}
	case 5:
		return &wamp.Unregister{Request: s.id(), Registration: s.id()}
	case 6, 7, 8:
		return &wamp.Call{Request: s.id(), Procedure: s.uri(), Options: wamp.CallOptions{
			Timeout: uint64(s.next() % 3), ReceiveProgress: flag(), Progress: flag(),
			RKey: []string{"", "k"}[s.next()%2], RunMode: []string{"", "partition", "all"}[s.next()%3], Passthru: passthru()}}
	case 9:
		return &wamp.Cancel{Request: s.id(), Mode: []wamp.CancelMode{wamp.CancelKill, wamp.CancelKillNoWait, wamp.CancelSkip, wamp.CancelInvalid}[s.next()%4]}
	case 10, 11:
		return &wamp.Yield{Request: s.id(), Options: wamp.YieldOptions{Progress: flag(), Passthru: passthru()}}
	case 12:
		return &wamp.ErrorReply{RequestType: []wamp.MessageType{wamp.TypeInvocation, wamp.TypeCall}[s.next()%2], Request: s.id(), URI: s.uri()}
	}
	return []wamp.Message{
		&wamp.Goodbye{Reason: "x"}, &wamp.Abort{Reason: "x"}, &wamp.Hello{Realm: "realm1"}, &wamp.Welcome{}, &violation{text: "x"},
		&wamp.Event{Subscription: 1}, &wamp.Result{Request: 1}, &wamp.Authenticate{},
	}[s.next()%8]
}

// FuzzRouter plays any messages from several peers. Whatever they say: nothing
// panics or hangs, nothing is sent to a peer behind its ABORT or GOODBYE, a call
// is answered at most once, and when all have left the router is empty.
func FuzzRouter(f *testing.F) {
	f.Add([]byte{0, 0, 1, 1, 0, 0, 1, 2, 1, 1})
	f.Add([]byte{0, 4, 1, 1, 0, 0, 0, 0, 0, 1, 6, 1, 1, 0, 1, 1, 0, 10, 1, 1, 0, 10, 1, 0})
	f.Add([]byte{0, 4, 1, 2, 2, 1, 1, 0, 0, 1, 4, 1, 2, 2, 1, 1, 0, 0, 2, 6, 1, 9, 2, 1, 1, 2, 9, 1, 0, 0, 13, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 512 {
			return
		}
		within(t, router.RealmConfig{MaxRetained: 3, MaxCalls: 4, MaxRegistrations: 4, MaxSubscriptions: 4, MaxStreams: 2}, func(w *world) {
			var peers [3]*scripted
			everything := wamp.Dict{"payload_passthru_mode": true, "progressive_call_invocations": true, "call_canceling": true, "call_reroute": true}
			for i, roles := range []wamp.Dict{
				allRoles, {"publisher": wamp.Dict{}, "subscriber": wamp.Dict{}, "caller": wamp.Dict{}, "callee": wamp.Dict{}},
				{"publisher": wamp.Dict{"features": everything}, "caller": wamp.Dict{"features": everything}, "callee": wamp.Dict{"features": everything}},
			} {
				peers[i] = w.connect()
				peers[i].say(&wamp.Hello{Realm: "realm1", Details: wamp.Dict{"roles": roles, "authid": string(rune('a' + i))}})
				peers[i].heard()
			}
			calls := [3]map[wamp.ID]int{{}, {}, {}} // calls not answered yet
			ended := [3]bool{}
			s := script(data)
			for len(s) > 0 {
				i := s.next() % 3
				if p := peers[i]; !p.isClosed() {
					m := s.message()
					if c, ok := m.(*wamp.Call); ok {
						calls[i][c.Request]++
					}
					p.say(m)
				}
				for j, p := range peers {
					for _, m := range p.heard() {
						if ended[j] {
							t.Fatalf("%s behind the end of the session", m.Type())
						}
						answered(t, calls[j], m)
						ended[j] = m.Type() == wamp.TypeAbort || m.Type() == wamp.TypeGoodbye
					}
				}
			}
			for _, p := range peers {
				if !p.isClosed() {
					close(p.in)
				}
			}
			synctest.Wait()
			if left := w.Leftovers("realm1"); left != "" {
				t.Errorf("left behind: %s", left)
			}
		})
	})
}

// answered books a final answer against the calls made.
func answered(t *testing.T, calls map[wamp.ID]int, m wamp.Message) {
	t.Helper()
	var request wamp.ID
	switch m := m.(type) {
	case *wamp.Result:
		if m.Details.Progress {
			return
		}
		request = m.Request
	case *wamp.ErrorReply:
		if m.RequestType != wamp.TypeCall {
			return
		}
		request = m.Request
	default:
		return
	}
	if calls[request]--; calls[request] < 0 {
		t.Fatalf("call %d got a second final answer", request)
	}
}
