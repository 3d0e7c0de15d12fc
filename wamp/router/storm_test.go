package router_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gantry/wamp"
	"gantry/wamp/router"
)

// TestDealerHoldsWhenEverybodyTalksAtOnce lets sessions call, answer, cancel,
// register and leave without waiting for each other. No model can say what must
// come then, but what must hold in any case is checked: one final answer for each
// call, progress only where it is asked for and never after the final answer,
// INTERRUPT only to those who cancel, invocation IDs in order, concurrency limits,
// and nothing left behind.
func TestDealerHoldsWhenEverybodyTalksAtOnce(t *testing.T) {
	t.Parallel()
	runs := 300
	if testing.Short() {
		runs = 40
	}
	first := rand.Uint64N(1 << 32)
	if *modelSeed != 0 {
		first = *modelSeed
	}
	for i := range runs {
		seed := first + uint64(i)
		if !t.Run(fmt.Sprint(seed), func(t *testing.T) { within(t, router.RealmConfig{}, func(w *world) { storm(w, seed) }) }) {
			t.Fatalf("the seed was %d; the order of what happens at once is not repeated", seed)
		}
	}
}

func storm(w *world, seed uint64) {
	watcher, watching := w.join("watcher")
	watcher.say(&wamp.Subscribe{Request: 1, Topic: "wamp.", Options: wamp.SubscribeOptions{Match: wamp.MatchPrefix}})
	watcher.heard()
	var peers []*stormPeer
	for i := range 5 {
		s := &modelSession{authid: fmt.Sprint("user", i), cancels: i%2 == 0, chunksIn: i%2 == 0, chunksOut: true, reroutes: i > 1}
		p := &stormPeer{modelPeer: modelPeer{scripted: w.connect(), s: s, open: map[int]bool{}}, rng: rand.New(rand.NewPCG(seed, uint64(i)))}
		p.say(&wamp.Hello{Realm: "realm1", Details: wamp.Dict{"authid": s.authid, "roles": wamp.Dict{
			"caller": wamp.Dict{"features": wamp.Dict{"progressive_call_invocations": true}},
			"callee": wamp.Dict{"features": wamp.Dict{"call_canceling": s.cancels, "progressive_call_invocations": s.cancels, "call_reroute": s.reroutes}},
		}}})
		p.id = p.heard()[0].(*wamp.Welcome).Session
		peers = append(peers, p)
	}
	var talking sync.WaitGroup
	for _, p := range peers {
		talking.Go(func() {
			for range 60 {
				p.acts()
			}
		})
	}
	talking.Go(func() { // one is thrown out while it talks
		for range seed % 40 {
			runtime.Gosched()
		}
		watcher.in <- &wamp.Call{Request: 2, Procedure: "wamp.session.kill", Payload: wamp.Args(int64(peers[4].id))}
	})
	for range 5 {
		if _, err := w.InProgress("realm1"); err != nil {
			w.t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	talking.Wait()
	// Everybody but the first leaves at once; it has an answer to each call then.
	for _, p := range peers[1:4] {
		talking.Go(func() { p.tell(&wamp.Goodbye{Reason: wamp.CloseURINormal}) })
	}
	talking.Wait()
	synctest.Wait()
	if _, err := w.InProgress("realm1"); err != nil {
		w.t.Fatal(err)
	}
	p := peers[0]
	for id := range len(p.invoked()) { // calls to itself
		p.say(&wamp.Yield{Request: wamp.ID(id + 1)})
	}
	for _, p := range peers {
		for _, m := range p.heard() {
			if m.Type() == wamp.TypeAbort || m.Type() == wamp.TypeGoodbye && p.s.authid == "user0" {
				w.t.Fatalf("a session was ended: %+v", m)
			}
			p.observe(w.t, m)
		}
	}
	if len(p.open) > 0 {
		w.t.Fatalf("calls %v have never been answered", p.open)
	}
	p.say(&wamp.Goodbye{Reason: wamp.CloseURINormal})
	told := tidings{members: map[any]map[any]bool{}, here: map[any]bool{int64(watching): true}}
	for _, m := range watcher.heard() {
		if ev, ok := m.(*wamp.Event); ok {
			told.hears(w.t, ev)
		}
	}
	if len(told.members) > 0 || len(told.here) != 1 {
		w.t.Fatalf("of all that has ended, nobody was told the end of %v, %v", told.members, told.here)
	}
	watcher.say(&wamp.Goodbye{Reason: wamp.CloseURINormal})
	if left := w.Leftovers("realm1"); left != "" {
		w.t.Fatalf("%s are left behind", left)
	}
}

// tidings is what meta events have told so far, and holds them to their order:
// created, joined, left, deleted.
type tidings struct {
	here    map[any]bool         // sessions
	members map[any]map[any]bool // of registrations and subscriptions
}

func (n *tidings) hears(t *testing.T, ev *wamp.Event) {
	t.Helper()
	args, _ := ev.Payload.GoValues()
	_, rest, _ := strings.Cut(string(ev.Details.Topic), ".")
	kind, what, _ := strings.Cut(rest, ".")
	bad := func() { t.Fatalf("%s%v comes out of turn", ev.Details.Topic, args) }
	switch kind {
	case "reflect":
		return // a description may be given anew, and has no session in it
	case "session":
		who := number(args[0])
		if what == "on_join" {
			who = number(args[0].(wamp.Dict)["session"])
		}
		if n.here[who] == (what == "on_join") {
			bad()
		}
		if n.here[who] = true; what == "on_leave" {
			delete(n.here, who)
			for _, members := range n.members {
				if members[who] {
					bad()
				}
			}
		}
		return
	}
	who := number(args[0])
	id := args[1]
	if details, ok := id.(wamp.Dict); ok {
		id = details["id"]
	}
	key := fmt.Sprint(kind, number(id))
	members, known := n.members[key]
	switch what {
	case "on_create":
		if known || !n.here[who] {
			bad()
		}
		n.members[key] = map[any]bool{}
	case "on_delete":
		if !known || len(members) > 0 {
			bad()
		}
		delete(n.members, key)
	default:
		comes := what == "on_register" || what == "on_subscribe"
		if !known || members[who] == comes || !n.here[who] {
			bad()
		}
		if members[who] = true; !comes {
			delete(members, who)
		}
	}
}

func number(v any) any {
	if id, ok := v.(wamp.ID); ok {
		return int64(id)
	}
	return v
}

// stormPeer is a session that waits for nobody.
type stormPeer struct {
	modelPeer
	id     wamp.ID
	rng    *rand.Rand
	chunks []int // calls that have not had their last chunk
}

// tell is say without waiting.
func (p *stormPeer) tell(m wamp.Message) {
	select {
	case p.in <- m:
	case <-p.closed:
	}
}

// invoked returns the IDs of the invocations that have come so far.
func (p *stormPeer) invoked() (ids []wamp.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.out {
		if inv, ok := m.(*wamp.Invocation); ok && (len(ids) == 0 || inv.Request > ids[len(ids)-1]) {
			ids = append(ids, inv.Request)
		}
	}
	return ids
}

func (p *stormPeer) next() wamp.ID {
	p.s.requests++
	return wamp.ID(p.s.requests)
}

// asks is next for a CALL.
func (p *stormPeer) asks() wamp.ID {
	request := p.next()
	p.open[int(request)] = false
	return request
}

func (p *stormPeer) acts() {
	uri := wamp.URI(modelProcedures[p.rng.IntN(len(modelProcedures))])
	switch n := p.rng.IntN(100); {
	case n < 12:
		o := wamp.RegisterOptions{Invoke: wamp.Invoke(1 + int(uri[2]-'a')), Concurrency: uint32(p.rng.IntN(4)), ForwardTimeout: p.rng.IntN(4) == 0, ForceReregister: p.rng.IntN(20) == 0}
		p.tell(&wamp.Register{Request: p.next(), Procedure: uri, Options: o})
	case n < 14:
		p.tell(&wamp.Subscribe{Request: p.next(), Topic: uri, Options: wamp.SubscribeOptions{Match: wamp.Match(p.rng.IntN(2))}})
	case n < 16:
		p.tell(&wamp.Call{Request: p.asks(), Procedure: "wamp.reflect.define", Payload: wamp.Args(string(uri)+"."+p.s.authid, wamp.Dict{})})
	case n < 17:
		p.tell(&wamp.Unsubscribe{Request: p.next(), Subscription: wamp.ID(2 + p.rng.IntN(8))})
	case n < 20:
		p.tell(&wamp.Unregister{Request: p.next(), Registration: wamp.ID(1 + p.rng.IntN(8))})
	case n < 45:
		o := wamp.CallOptions{ReceiveProgress: p.rng.IntN(2) == 0, Progress: p.rng.IntN(3) == 0, Timeout: uint64(max(0, p.rng.IntN(4)-2))}
		request := p.next()
		p.open[int(request)] = o.ReceiveProgress
		if o.Progress {
			p.chunks = append(p.chunks, int(request))
		}
		p.tell(&wamp.Call{Request: request, Procedure: uri, Options: o, Payload: wamp.Args(1)})
	case n < 52 && len(p.chunks) > 0:
		i := p.rng.IntN(len(p.chunks))
		request, more := p.chunks[i], p.rng.IntN(2) == 0
		if !more {
			p.chunks = append(p.chunks[:i], p.chunks[i+1:]...)
		}
		p.tell(&wamp.Call{Request: wamp.ID(request), Procedure: uri, Options: wamp.CallOptions{Progress: more}, Payload: wamp.Args(2)})
	case n < 60:
		p.tell(&wamp.Cancel{Request: wamp.ID(1 + p.rng.IntN(p.s.requests+1)), Mode: wamp.CancelMode(p.rng.IntN(3))})
	default:
		ids := p.invoked()
		if len(ids) == 0 {
			return
		}
		id := ids[len(ids)-1-p.rng.IntN(min(len(ids), 4))]
		if p.rng.IntN(4) == 0 {
			p.tell(&wamp.ErrorReply{RequestType: wamp.TypeInvocation, Request: id, URI: []wamp.URI{"my.error", wamp.ErrURIUnavailable}[p.rng.IntN(2)]})
			return
		}
		p.tell(&wamp.Yield{Request: id, Options: wamp.YieldOptions{Progress: p.rng.IntN(2) == 0}, Payload: wamp.Args(3)})
	}
}
