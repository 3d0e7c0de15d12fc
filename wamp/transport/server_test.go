package transport_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"gantry/wamp"
	"gantry/wamp/transport"
	"gantry/wamp/wamptest"
)

func TestSlowReaderCostsItsQueueAndNothingElse(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, l wamptest.Link) {
		opts := hasty
		opts.Queue, opts.WriteTimeout = 64<<10, time.Minute
		s := serve(t, "unix", transport.ServerConfig{Options: opts}, nil)
		slow, toSlow := s.script(t, l)
		quick, toQuick := s.script(t, l)
		text := strings.Repeat("x", 1000)
		accepted := 0
		for {
			err := toSlow.TrySend(&wamp.Event{Subscription: 1, Publication: wamp.ID(accepted + 1), Payload: wamp.Args(text)})
			if errors.Is(err, wamp.ErrQueueFull) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			// What the kernel takes comes on top of the queue; it is bounded as well.
			if accepted++; accepted > 100_000 {
				t.Fatal("100 MB wait for a reader that does not read")
			}
			if accepted%50 == 0 {
				if err := toQuick.TrySend(&wamp.Published{Request: wamp.ID(accepted), Publication: 1}); err != nil {
					t.Fatal(err)
				}
				quick.Expect(`[17, "*", 1]`)
			}
		}
		if err := toSlow.TrySend(&wamp.Goodbye{Reason: wamp.CloseURIKilled}); err != nil {
			t.Errorf("there is no room for the message that ends the session: %v", err)
		}
		waiting := make(chan error, 1)
		go func() { waiting <- toSlow.Send(t.Context(), &wamp.Published{Request: 1, Publication: 2}) }()
		for i := range accepted {
			ev := slow.Recv()
			if ev[2] != any(int64(i+1)) {
				t.Fatalf("event %v came in place of %d", ev[2], i+1)
			}
		}
		slow.Expect(`[6, {}, "wamp.close.killed"]`, `[17, 1, 2]`)
		if err := <-waiting; err != nil {
			t.Errorf("a send that waited for room: %v", err)
		}
	})
}

func TestReaderThatStopsIsDroppedAfterTheWriteTimeout(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, l wamptest.Link) {
		opts := hasty
		opts.PingInterval, opts.WriteTimeout = -1, 50*time.Millisecond
		s := serve(t, "unix", transport.ServerConfig{Options: opts}, nil)
		_, router := s.script(t, l)
		end := receive(router)
		for {
			err := router.TrySend(&wamp.Event{Subscription: 1, Publication: 1, Payload: wamp.Args(strings.Repeat("x", 10_000))})
			if errors.Is(err, wamp.ErrQueueFull) || errors.Is(err, wamp.ErrClosed) { // the latter where that takes longer than the timeout
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := <-end; err == nil || errors.Is(err, io.EOF) {
			t.Errorf("the connection ended with %v", err)
		}
	})
}

func TestSharedFramesReachEveryKindOfPeer(t *testing.T) {
	t.Parallel()
	s := serve(t, "tcp", transport.ServerConfig{Options: hasty}, nil)
	for _, size := range []int{10, 3000, 100_000} {
		shared := &wamp.Shared{Msg: &wamp.Event{Subscription: 1, Publication: 2, Payload: wamp.Args(strings.Repeat("x", size))}}
		for _, l := range wamptest.NetworkLinks() {
			for range 2 {
				p, router := s.script(t, l)
				if err := router.TrySend(shared); err != nil {
					t.Fatal(err)
				}
				p.Expect(`[36, 1, 2, {}, ["` + strings.Repeat("x", size) + `"]]`)
			}
		}
	}
}

func TestMaxConnsIsKept(t *testing.T) {
	t.Parallel()
	s := serve(t, "tcp", transport.ServerConfig{Options: hasty, MaxConns: 3, HTTP: teapot}, nil)
	s.script(t, wamptest.Link{Transport: "websocket", Format: wamp.JSON})
	s.script(t, wamptest.Link{Transport: "rawsocket", Format: wamp.JSON})
	s.conn(t) // holds a place though it says nothing
	refusedRaw := func() bool {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(wamptest.Deadline))
		if _, err := c.Write([]byte("\x7F\xF1\x00\x00")); err != nil {
			return true
		}
		var b [4]byte
		if _, err := io.ReadFull(c, b[:]); err != nil {
			t.Fatalf("over the limit: %v", err)
		}
		return b == [4]byte{0x7F, 0x40}
	}
	if !refusedRaw() {
		t.Error("a connection over the limit was admitted")
	}
	_, err := transport.Dial(t.Context(), "rs://"+s.addr, transport.DialConfig{})
	var refusal *transport.RawSocketError
	if !errors.As(err, &refusal) || refusal.Code != transport.RawTooManyConnections {
		t.Errorf("dial over the limit: %v", err)
	}
	c := s.conn(t)
	if _, err := c.Write(wamptest.Upgrade("/ws", "wamp.2.json")); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("HTTP over the limit: %v, %v", resp, err)
	}
}

func TestPlacesAreFreed(t *testing.T) {
	t.Parallel()
	s := serve(t, "tcp", transport.ServerConfig{Options: hasty, MaxConns: 1, HTTP: teapot}, echo)
	for range 3 {
		for _, l := range wamptest.NetworkLinks() {
			p := admitted(t, s, l)
			if err := p.TrySend(publish("x")); err != nil {
				t.Fatal(err)
			}
			if _, err := p.Recv(); err != nil {
				t.Fatal(err)
			}
			_ = p.Close()
		}
		// A request that is no WebSocket gives its place back as well.
		for {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.addr+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Close = true
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusTeapot {
				break
			}
		}
	}
}

// admitted connects as soon as there is a place.
func admitted(t *testing.T, s *server, l wamptest.Link) wamp.Peer {
	t.Helper()
	var err error
	for deadline := time.Now().Add(wamptest.Deadline); time.Now().Before(deadline); {
		var p wamp.Peer
		if p, err = transport.Dial(t.Context(), s.url(l), transport.DialConfig{Formats: []wamp.Format{l.Format}, Options: hasty}); err == nil {
			return p
		}
	}
	t.Fatalf("no place was freed: %v", err)
	return nil
}

func openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("needs /proc")
	}
	return len(files)
}

func TestConnectionsLeaveNothingBehind(t *testing.T) { // not parallel: it counts
	files, routines := openFiles(t), runtime.NumGoroutine()
	s := serve(t, "tcp", transport.ServerConfig{Options: hasty}, echo)
	for i := range 100 {
		l := wamptest.NetworkLinks()[i%6]
		p, err := transport.Dial(t.Context(), s.url(l), transport.DialConfig{Formats: []wamp.Format{l.Format}, Options: hasty})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.TrySend(publish("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Recv(); err != nil {
			t.Fatal(err)
		}
		_ = p.Close()
	}
	s.stop()
	// The HTTP library ends its goroutines after it has said so.
	for deadline := time.Now().Add(wamptest.Deadline); time.Now().Before(deadline); runtime.Gosched() {
		if runtime.NumGoroutine() <= routines && openFiles(t) <= files {
			return
		}
	}
	t.Errorf("%d goroutines and %d files, before there were %d and %d", runtime.NumGoroutine(), openFiles(t), routines, files)
}

func TestServerThatStopsClosesEverybody(t *testing.T) {
	t.Parallel()
	s := serve(t, "tcp", transport.ServerConfig{Options: patient, HTTP: teapot}, echo)
	var peers []*wamptest.Peer
	for _, l := range wamptest.NetworkLinks() {
		peers = append(peers, wamptest.Dial(t, s.network, s.addr, l))
	}
	silent, half := s.conn(t), s.conn(t)
	if _, err := half.Write([]byte("\x7F")); err != nil {
		t.Fatal(err)
	}
	stopped := make(chan struct{})
	go func() { defer close(stopped); s.stop() }()
	for _, p := range peers {
		p.ExpectClosed()
		p.Close()
		if p.Link.Transport == "websocket" && p.CloseCode != 1000 {
			t.Errorf("%s: close code %d", p.Name, p.CloseCode)
		}
	}
	for _, c := range []net.Conn{silent, half} {
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("an unfinished handshake is still open: %v", err)
		}
	}
	<-stopped
	if _, err := s.ln.Accept(); !errors.Is(err, net.ErrClosed) { // its port may be somebody else's by now
		t.Errorf("the port is still open: %v", err)
	}
}

// What has been written makes room at once, not when everything before it has.
func TestRoomGrowsWithEveryPieceThatIsRead(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, l wamptest.Link) {
		s := serve(t, "unix", transport.ServerConfig{Options: hasty}, nil)
		p, router := s.script(t, l)
		const n = 4 << 20
		if err := router.TrySend(&wamp.Event{Subscription: 1, Publication: 1, Payload: wamp.Args(strings.Repeat("x", n))}); err != nil {
			t.Fatal(err)
		}
		small := &wamp.Invocation{Request: 1, Registration: 2}
		if err := router.TrySend(small); !errors.Is(err, wamp.ErrQueueFull) {
			t.Fatalf("behind a message over the limit: %v", err)
		}
		if _, err := io.CopyN(io.Discard, p.Conn, n-512<<10); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), wamptest.Deadline/2)
		defer cancel()
		if err := router.Send(ctx, small); err != nil {
			t.Errorf("with half of the limit in the queue: %v", err)
		}
	})
}
