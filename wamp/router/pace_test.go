package router_test

import (
	"testing"
	"time"

	"gantry/wamp"
	"gantry/wamp/router"
)

// TestMessageRate: a session that sends faster than it may is read later; nothing
// of it is lost, and nobody else waits.
func TestMessageRate(t *testing.T) {
	const rate, count = 50, 200
	synctestRouter(t, router.Config{Realms: []router.RealmConfig{{Name: "realm1", MaxRate: rate}}}, func(w *world) {
		flood := func(p *scripted) time.Duration {
			p.heard()
			start := time.Now()
			for i := range count {
				p.say(&wamp.Publish{Request: wamp.ID(i + 1), Options: wamp.PublishOptions{Acknowledge: true}, Topic: "a.b"})
			}
			took := time.Since(start)
			if got := len(p.heard()); got != count {
				w.t.Errorf("%d of %d publications are acknowledged", got, count)
			}
			return took
		}
		free, _ := w.join("free") // in process
		if took := flood(free); took != 0 {
			w.t.Errorf("a component of the process waited for %v", took)
		}
		from := func() *scripted {
			p := w.connect()
			p.info = wamp.PeerInfo{Transport: "websocket", Remote: "127.0.0.1:9", Local: true}
			p.say(&wamp.Hello{Realm: "realm1", Details: wamp.Dict{"roles": allRoles}})
			return p
		}
		// A second's worth is free.
		const want = (count - rate) * time.Second / rate
		if took := flood(from()); took < want-time.Second/rate || took > want+time.Second/rate {
			w.t.Errorf("%d messages at %d/s took %v, expected about %v", count, rate, took, want)
		}
		if got := w.Stats("realm1").Held; got < count-rate-1 || got > count-rate+1 {
			w.t.Errorf("%d messages were held back, expected about %d", got, count-rate)
		}
	})
}
