package router_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gantry/wamp"
	"gantry/wamp/router"
)

// unread is a peer that tells when it has not read its answers.
type unread struct {
	*scripted
	few  atomic.Pointer[chan struct{}] // nil: it reads
	sent atomic.Uint64
}

func (u *unread) Crowded() <-chan struct{} {
	if few := u.few.Load(); few != nil {
		return *few
	}
	return nil
}

func (u *unread) Traffic() (received, sent uint64) { return 0, u.sent.Load() }

// stops reading, and goes on.
func (u *unread) stops() {
	few := make(chan struct{})
	u.few.Store(&few)
}

func (u *unread) goesOn() { close(*u.few.Swap(nil)) }

// offers reports whether the router takes m now.
func (u *unread) offers(m wamp.Message) bool {
	synctest.Wait()
	select {
	case u.in <- m:
		synctest.Wait()
		return true
	default:
		return false
	}
}

// slowReader joins with such a peer.
func (w *world) slowReader() *unread {
	u := &unread{scripted: &scripted{t: w.t, in: make(chan wamp.Message), closed: make(chan struct{}), info: wamp.PeerInfo{Transport: "websocket", Local: true}}}
	w.accepted.Go(func() { w.Accept(context.Background(), u) })
	u.say(&wamp.Hello{Realm: "realm1", Details: wamp.Dict{"roles": allRoles}})
	u.heard()
	return u
}

func TestWhoDoesNotReadIsReadLater(t *testing.T) {
	t.Parallel()
	within(t, router.RealmConfig{}, func(w *world) {
		u, other := w.slowReader(), w.slowReader()
		u.stops()
		u.say(&wamp.Subscribe{Request: 1, Topic: "t"})
		if u.offers(&wamp.Subscribe{Request: 2, Topic: "u"}) {
			t.Error("the next message was read")
		}
		// Others go on, and it still gets what they send.
		other.say(publish(1, "t", 1), &wamp.Call{Request: 2, Procedure: "wamp.session.count"})
		if got := other.heard(); len(got) != 1 || got[0].Type() != wamp.TypeResult {
			t.Errorf("another one hears %v", got)
		}
		u.hears(&wamp.Subscribed{Request: 1, Subscription: 1}, event(1, 1))
		u.goesOn()
		if !u.offers(&wamp.Subscribe{Request: 2, Topic: "u"}) {
			t.Error("it has read, and the next message was not")
		}
		u.hears(&wamp.Subscribed{Request: 2, Subscription: 2})
		if st := w.Stats("realm1"); st.Paused != 1 {
			t.Errorf("%d pauses are counted", st.Paused)
		}
	})
}

// As long as it reads something it is waited for; one that reads nothing has one
// message a second handled, for it may read when that has been taken from it.
func TestWhoReadsNothingIsReadSlowly(t *testing.T) {
	t.Parallel()
	within(t, router.RealmConfig{}, func(w *world) {
		u := w.slowReader()
		u.stops()
		u.say(&wamp.Subscribe{Request: 1, Topic: "t"})
		for range 100 {
			u.sent.Add(1)
			time.Sleep(time.Second)
			if u.offers(publish(9, "x")) {
				t.Fatal("the next message of a slow reader was read")
			}
		}
		began := time.Now()
		for i := range 5 {
			u.in <- publish(wamp.ID(i+2), "x")
		}
		if took := time.Since(began); took < 4*time.Second || took > 6*time.Second {
			t.Errorf("five messages of one that reads nothing were handled in %v", took)
		}
		u.goesOn()
	})
}

// What a session in a pause has to say to others comes in the end: the answer to an
// invocation, and that it does not want one any more.
func TestAnswersAndCancelsOfAPausedSessionArrive(t *testing.T) {
	t.Parallel()
	within(t, router.RealmConfig{}, func(w *world) {
		a, b := w.slowReader(), w.slowReader()
		for i, u := range []*unread{a, b} {
			u.say(&wamp.Register{Request: 1, Procedure: wamp.URI([]string{"p.a", "p.b"}[i])})
			u.heard()
			u.stops()
		}
		// Each calls the other, and then neither is read.
		a.say(&wamp.Call{Request: 2, Procedure: "p.b"})
		b.say(&wamp.Call{Request: 2, Procedure: "p.a"})
		a.hears(invocation(1, 1))
		b.hears(invocation(1, 2))
		go func() { a.in <- &wamp.Yield{Request: 1} }()
		go func() { b.in <- &wamp.Cancel{Request: 2, Mode: wamp.CancelKillNoWait} }()
		synctest.Wait()
		a.hears()
		b.hears()
		time.Sleep(1100 * time.Millisecond) // neither reads
		if got := b.heard(); len(got) != 1 {
			t.Fatalf("the caller b hears %v", got)
		}
		a.goesOn()
		b.goesOn()
		b.say(&wamp.Yield{Request: 1})
		var results int
		for _, m := range a.heard() {
			if m.Type() == wamp.TypeResult {
				results++
			}
		}
		if results != 1 {
			t.Errorf("the caller a hears %d results", results)
		}
	})
}

// A pause ends when the session is ended by somebody, and with the router.
func TestAPauseEndsWithTheSession(t *testing.T) {
	t.Parallel()
	within(t, router.RealmConfig{}, func(w *world) {
		u := w.slowReader()
		u.stops()
		u.say(&wamp.Subscribe{Request: 1, Topic: "t"})
		go func() { // as a transport does
			<-u.closed
			u.goesOn()
		}()
		other := w.slowReader()
		other.say(&wamp.Call{Request: 1, Procedure: "wamp.session.kill_all"})
		if !u.isClosed() || w.Stats("realm1").Sessions != 1 {
			t.Error("the session goes on")
		}
		last := w.slowReader()
		last.stops()
		last.say(&wamp.Subscribe{Request: 1, Topic: "t"})
	}) // within waits for the router's end
}
