package transport_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gantry/wamp"
	"gantry/wamp/transport"
	"gantry/wamp/wamptest"
)

func kinds(l wamptest.Link) (ping, pong byte) {
	if l.Transport == "websocket" {
		return wamptest.Ping, wamptest.Pong
	}
	return wamptest.RawPing, wamptest.RawPong
}

// receive keeps receiving from p until it ends, and closes the channel then.
func receive(p wamp.Peer) <-chan error {
	end := make(chan error, 1)
	go func() {
		for {
			if _, err := p.Recv(); err != nil {
				end <- err
				close(end)
				return
			}
		}
	}()
	return end
}

func TestPingIsAnsweredOnceWithItsPayload(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, l wamptest.Link) {
		s := serve(t, "tcp", transport.ServerConfig{Options: transport.Options{PingInterval: -1}}, echo)
		p := wamptest.Dial(t, s.network, s.addr, l)
		ping, pong := kinds(l)
		sizes := []int{0, 1, 125}
		if l.Transport == "rawsocket" {
			sizes = append(sizes, 126, 1<<16, 1<<20)
		}
		for _, n := range sizes {
			payload := bytes.Repeat([]byte{0xA5}, n)
			p.SendFrame(wamptest.Frame{Kind: pong, Payload: payload}) // asked by nobody
			p.SendFrame(wamptest.Frame{Kind: ping, Payload: payload})
			if f := p.RecvFrame(); f.Kind != pong || !bytes.Equal(f.Payload, payload) {
				t.Errorf("ping with %d bytes was answered by a frame of type %d with %d bytes", n, f.Kind, len(f.Payload))
			}
		}
		p.Send(`[34, 7, 8]`)
		p.Expect(`[34, 7, 8]`) // and nothing in between
	})
}

func TestPongsDoNotTearMessages(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, l wamptest.Link) {
		s := serve(t, "tcp", transport.ServerConfig{Options: hasty}, nil)
		p, router := s.script(t, l)
		end := receive(router)
		ping, pong := kinds(l)
		const n = 200
		go func() {
			text := string(bytes.Repeat([]byte("x"), 3000))
			for i := range n {
				_ = router.Send(t.Context(), &wamp.Event{Subscription: 1, Publication: wamp.ID(i + 1), Payload: wamp.Args(text)})
			}
		}()
		for range n {
			p.SendFrame(wamptest.Frame{Kind: ping, Payload: []byte("p")})
		}
		pongs, events := 0, 0
		for pongs < n || events < n {
			f := p.RecvFrame()
			switch {
			case f.Kind == pong && string(f.Payload) == "p":
				pongs++
			case f.Kind == ping:
			case len(f.Payload) > 3000 && len(f.Payload) < 3050:
				events++
			default:
				t.Fatalf("frame of type %d with %d bytes after %d pongs and %d events", f.Kind, len(f.Payload), pongs, events)
			}
		}
		_ = router.Close()
		<-end
	})
}

func TestPingsWithoutReadingTheAnswersEndTheConnection(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, l wamptest.Link) {
		opts := hasty
		opts.Queue, opts.WriteTimeout = 1<<10, 100*time.Millisecond
		s := serve(t, "tcp", transport.ServerConfig{Options: opts}, nil)
		conn := s.conn(t)
		_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
		p := wamptest.Over(t, conn, l)
		router := s.next(t)
		end := make(chan struct{})
		go func() {
			defer close(end)
			<-receive(router)
			_ = router.Close()
		}()
		ping, _ := kinds(l)
		frame := bytes.Repeat(p.Encode(wamptest.Frame{Kind: ping, Payload: make([]byte, 125)}), 1000)
		_ = conn.SetWriteDeadline(time.Now().Add(wamptest.Deadline))
		for {
			if _, err := conn.Write(frame); err != nil {
				<-end
				return
			}
		}
	})
}

var brisk = transport.Options{PingInterval: 20 * time.Millisecond, PingTimeout: 40 * time.Millisecond, Linger: 20 * time.Millisecond}

func TestHalfOpenPeerIsDropped(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, l wamptest.Link) {
		s := serve(t, "tcp", transport.ServerConfig{Options: brisk}, nil)
		_, router := s.script(t, l) // it never reads, and so answers no ping
		started := time.Now()
		err := <-receive(router)
		if err == nil || time.Since(started) < brisk.PingInterval {
			t.Errorf("ended after %v: %v", time.Since(started), err)
		}
		if err := router.TrySend(&wamp.Published{Request: 1, Publication: 1}); err == nil {
			t.Error("a dead connection takes messages")
		}
	})
}

func TestClientDropsAHalfOpenServer(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, l wamptest.Link) {
		quiet := transport.Options{PingInterval: -1, Linger: 20 * time.Millisecond}
		s := serve(t, "tcp", transport.ServerConfig{Options: quiet}, nil)
		c, _ := s.dial(t, l, brisk) // the server's end does not receive
		if err := <-receive(c); err == nil {
			t.Error("no error")
		}
	})
}

func TestPeerThatAnswersPingsStays(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, l wamptest.Link) {
		opts := brisk
		opts.PingTimeout = wamptest.Deadline
		s := serve(t, "tcp", transport.ServerConfig{Options: opts}, nil)
		p, router := s.script(t, l)
		end := receive(router)
		ping, pong := kinds(l)
		for range 5 {
			f := p.RecvFrame()
			if f.Kind != ping {
				t.Fatalf("frame of type %d, expected a ping", f.Kind)
			}
			p.SendFrame(wamptest.Frame{Kind: pong, Payload: f.Payload})
		}
		p.Send(`[34, 7, 8]`)
		_ = router.Close()
		<-end
	})
}

func TestRawSocketThatTakesNoPingsGetsNone(t *testing.T) {
	t.Parallel()
	opts := brisk
	opts.PingTimeout = wamptest.Deadline
	opts.QuietRawSocket = true
	s := serve(t, "tcp", transport.ServerConfig{Options: opts}, nil)
	p, router := s.script(t, wamptest.Link{Transport: "rawsocket", Format: wamp.CBOR})
	q, other := s.script(t, wamptest.Link{Transport: "websocket", Format: wamp.CBOR})
	end := receive(other)
	for range 5 { // five intervals, by the clock of the other connection
		f := q.RecvFrame()
		q.SendFrame(wamptest.Frame{Kind: wamptest.Pong, Payload: f.Payload})
	}
	if err := router.TrySend(&wamp.Published{Request: 1, Publication: 2}); err != nil {
		t.Fatal(err)
	}
	if p.Expect(`[17, 1, 2]`); p.Pings != 0 {
		t.Errorf("%d pings", p.Pings)
	}
	_ = other.Close()
	<-end
}

// While nobody receives on a connection its silence says nothing: whoever serves it
// may be busy with the last message for longer than a ping may take.
func TestSilenceCountsWhileSomebodyListens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		peers := make(chan wamp.Peer, 1)
		srv, err := transport.NewServer(transport.ServerConfig{}, serving(func(ctx context.Context, p wamp.Peer) {
			peers <- p
			<-ctx.Done()
		}), nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := srv.Serve(ctx, l); err != nil {
				t.Error(err)
			}
		})
		conn, err := l.dial(ctx, "", "")
		if err != nil {
			t.Fatal(err)
		}
		p := wamptest.Over(t, conn, wamptest.Link{Transport: "rawsocket", Format: wamp.JSON})
		router := <-peers
		_ = conn.SetReadDeadline(time.Time{})
		wg.Go(func() { _, _ = io.Copy(io.Discard, conn) }) // pings, which it does not answer
		for range 3 {
			time.Sleep(time.Minute) // busy
			wg.Go(func() { p.Send(`[34, 1, 2]`) })
			if m, err := router.Recv(); err != nil || m.Type() != wamp.TypeUnsubscribe {
				t.Fatalf("after a pause received %v, %v", m, err)
			}
		}
		began := time.Now()
		if m, err := router.Recv(); err == nil || time.Since(began) > transport.DefaultPingInterval+transport.DefaultPingTimeout {
			t.Errorf("a silent client was noticed after %v: %v", time.Since(began), m)
		}
		_ = conn.Close()
		cancel()
		wg.Wait()
	})
}
