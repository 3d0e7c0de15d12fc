package router_test

import (
	"context"
	"sync/atomic"
	"testing"

	"gantry/wamp"
	"gantry/wamp/router"
)

// metered is a peer that says how many bytes went over its connection.
type metered struct {
	*scripted
	in, out atomic.Uint64
}

func (m *metered) Traffic() (received, sent uint64) { return m.in.Load(), m.out.Load() }

func TestTrafficOfAllSessionsIsSummedUp(t *testing.T) {
	t.Parallel()
	within(t, router.RealmConfig{}, func(w *world) {
		hello := &wamp.Hello{Realm: "realm1", Details: wamp.Dict{"roles": allRoles}}
		for i := range 2 {
			p := &metered{scripted: &scripted{
				t: t, in: make(chan wamp.Message), closed: make(chan struct{}), info: wamp.PeerInfo{Transport: "websocket", Local: true},
			}}
			w.accepted.Go(func() { w.Accept(context.Background(), p) })
			p.say(hello)
			p.in.Store(100)
			p.out.Store(1000)
			if st := w.Stats("realm1"); st.ReceivedBytes != uint64(100*(i+1)) || st.SentBytes != uint64(1000*(i+1)) {
				t.Errorf("round %d, while it is there: %+v", i, st)
			}
			p.say(publish(1, "x"), &wamp.Goodbye{Reason: wamp.CloseURICloseRealm})
			p.isClosed()
		}
		want := router.Stats{Received: 4, Sent: 2, ReceivedBytes: 200, SentBytes: 2000}
		st := w.Total()
		if st.Received != want.Received || st.Sent != want.Sent || st.ReceivedBytes != want.ReceivedBytes || st.SentBytes != want.SentBytes {
			t.Errorf("%+v, expected %+v", st, want)
		}
	})
}
