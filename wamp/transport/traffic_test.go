package transport_test

import (
	"strings"
	"testing"

	"gantry/wamp"
	"gantry/wamp/transport"
	"gantry/wamp/wamptest"
)

// Both ends of a connection count the same bytes, and as many as there are.
func TestTrafficCountsTheBytesOfFrames(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, l wamptest.Link) {
		s := serve(t, "tcp", transport.ServerConfig{Options: transport.Options{PingInterval: -1}}, nil)
		p, router := s.script(t, l)
		var in, out uint64
		for _, n := range []int{10, 200, 70_000} {
			m := &wamp.Publish{Request: 1, Topic: "a.b", Payload: wamp.Args(strings.Repeat("x", n))}
			p.SendMessage(m)
			got, err := router.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if err := router.TrySend(got); err != nil {
				t.Fatal(err)
			}
			body := len(p.RecvFrame().Payload)
			header := 4
			if l.Transport == "websocket" {
				header = map[int]int{10: 2, 200: 4, 70_000: 10}[n]
				in += 4 // the mask
			}
			in, out = in+uint64(header+body), out+uint64(header+body)
		}
		until(t, "the bytes are counted", func() bool {
			_, sent := router.(wamp.Metered).Traffic()
			return sent >= out
		})
		if received, sent := router.(wamp.Metered).Traffic(); received != in || sent != out {
			t.Errorf("%d bytes received, %d sent, expected %d and %d", received, sent, in, out)
		}
	})
}

func TestTrafficOfLongPollCountsBodies(t *testing.T) {
	t.Parallel()
	s := pollServer(t, transport.ServerConfig{}, nil)
	p := newPoller(t, s).open("wamp.2.json")
	router := s.next(t)
	_, _ = received(router)
	p.send([]byte("[34,1,2]"))
	if err := router.TrySend(&wamp.Published{Request: 1, Publication: 2}); err != nil {
		t.Fatal(err)
	}
	if got := string(p.receive()); got != "[17,1,2]" {
		t.Fatal(got)
	}
	until(t, "the answer is counted", func() bool { _, sent := router.(wamp.Metered).Traffic(); return sent > 0 })
	if received, sent := router.(wamp.Metered).Traffic(); received != 8 || sent != 8 {
		t.Errorf("%d bytes received, %d sent, expected 8 each", received, sent)
	}
}
