package transport_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"gantry/wamp"
	"gantry/wamp/serialize"
	"gantry/wamp/transport"
	"gantry/wamp/wamptest"
)

// hasty waits for nobody who does not close in turn.
var hasty = transport.Options{Linger: 20 * time.Millisecond}

// patient brings the last word, however slow the machine is. Who has heard it must
// close in turn.
var patient = transport.Options{Linger: wamptest.Deadline}

func publish(text string) *wamp.Publish {
	return &wamp.Publish{Request: 1, Topic: "a.b", Payload: wamp.Args(text)}
}

// Whoever handles a message may do so while another goroutine closes the peer.
func TestAMessageOutlivesTheCloseOfItsPeer(t *testing.T) { // not parallel: it is about pools
	for _, l := range wamptest.NetworkLinks() {
		t.Run(l.String(), func(t *testing.T) {
			s := serve(t, "tcp", transport.ServerConfig{Options: hasty}, nil)
			first, one := s.dial(t, l, hasty)
			second, two := s.dial(t, l, hasty)
			mine, theirs := strings.Repeat("a", 1000), strings.Repeat("b", 1000)
			for range 10 {
				if err := first.TrySend(publish(mine)); err != nil {
					t.Fatal(err)
				}
			}
			m, err := one.Recv()
			if err != nil {
				t.Fatal(err)
			}
			_ = one.Close()
			for range 10 {
				if err := second.TrySend(publish(theirs)); err != nil {
					t.Fatal(err)
				}
				if _, err := two.Recv(); err != nil {
					t.Fatal(err)
				}
			}
			var got string
			if err := serialize.Arg(m.(*wamp.Publish).Payload, 0, &got); err != nil || got != mine {
				t.Fatalf("the message became %.20q, %v", got, err)
			}
		})
	}
}

func TestCloseFlushesInOrderAndEndsTheStream(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, l wamptest.Link) {
		s := serve(t, "tcp", transport.ServerConfig{Options: patient}, nil)
		client, router := s.dial(t, l, patient)
		for _, way := range []struct {
			name     string
			from, to wamp.Peer
		}{{"server", router, client}, {"client", client, router}} {
			const n = 500
			if way.name == "client" {
				client, router = s.dial(t, l, patient)
				way.from, way.to = client, router
			}
			filler := strings.Repeat("x", 1000)
			for i := range n {
				if err := way.from.TrySend(&wamp.Event{Subscription: 1, Publication: wamp.ID(i + 1), Payload: wamp.Args(filler)}); err != nil {
					t.Fatalf("%s sends message %d: %v", way.name, i, err)
				}
			}
			closed := make(chan error, 1)
			go func() { closed <- way.from.Close() }()
			for i := range n {
				m, err := way.to.Recv()
				if err != nil {
					t.Fatalf("%s closed; message %d of %d: %v", way.name, i, n, err)
				}
				if ev := m.(*wamp.Event); ev.Publication != wamp.ID(i+1) {
					t.Fatalf("message %d is %d", i, ev.Publication)
				}
			}
			if m, err := way.to.Recv(); !errors.Is(err, io.EOF) {
				t.Fatalf("behind the last message came %v, %v", m, err)
			}
			_ = way.to.Close()
			if err := <-closed; err != nil {
				t.Fatal(err)
			}
			if err := way.from.TrySend(publish("")); !errors.Is(err, wamp.ErrClosed) {
				t.Fatalf("send after Close: %v", err)
			}
			if _, err := way.from.Recv(); !errors.Is(err, wamp.ErrClosed) && !errors.Is(err, io.EOF) {
				t.Fatalf("receive after Close: %v", err)
			}
			_ = way.from.Close()
		}
	})
}

func TestCloseFreesABlockedReceiver(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, l wamptest.Link) {
		s := serve(t, "tcp", transport.ServerConfig{Options: hasty}, nil)
		client, router := s.dial(t, l, hasty)
		for _, p := range []wamp.Peer{router, client} {
			freed := make(chan error, 1)
			go func() { _, err := p.Recv(); freed <- err }()
			done := make(chan struct{})
			go func() { defer close(done); _ = p.Close() }()
			if err := <-freed; !errors.Is(err, wamp.ErrClosed) && !errors.Is(err, io.EOF) {
				t.Errorf("the receiver got %v", err)
			}
			if p == router {
				_ = client.TrySend(publish("")) // something in flight must not hold it up
				_, _ = client.Recv()
				continue
			}
			<-done
		}
	})
}

// RFC 6455, 5.5.1: nothing follows a close frame.
func TestNothingFollowsACloseFrame(t *testing.T) {
	t.Parallel()
	s := serve(t, "tcp", transport.ServerConfig{Options: patient}, nil)
	p, router := s.script(t, wamptest.Link{Transport: "websocket", Format: wamp.CBOR})
	received := make(chan error, 1)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_ = router.Close()
	}()
	if f := p.RecvFrame(); f.Kind != wamptest.Close {
		t.Fatalf("first frame has opcode %d", f.Kind)
	}
	go func() { _, err := router.Recv(); received <- err }()
	for range 100 {
		p.SendFrame(wamptest.Frame{Kind: wamptest.Ping, Payload: []byte("late")})
	}
	p.SendFrame(wamptest.Frame{Kind: wamptest.Close, Payload: []byte{3, 232}})
	p.ExpectClosed()
	if p.CloseCode != 0 {
		t.Fatalf("a second close frame came with code %d", p.CloseCode)
	}
	p.Close()
	<-received
	<-closed
}
