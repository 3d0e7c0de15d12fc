package transport_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gantry/wamp"
	"gantry/wamp/transport"
)

// pipes is a listener in memory, for tests whose time is not real.
type pipes struct {
	conns chan net.Conn // unbuffered; nobody closes it
	done  chan struct{} // closed by Close
	once  sync.Once
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "unix"} }

func (l *pipes) dial(context.Context, string, string) (net.Conn, error) {
	a, b := net.Pipe()
	select {
	case l.conns <- b:
		return a, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// timed runs f in a bubble with a server, whose peers arrive in the channel, and a
// client of it.
func timed(t *testing.T, cfg transport.ServerConfig, f func(t *testing.T, p *poller, peers <-chan wamp.Peer, stop func())) {
	synctest.Test(t, func(t *testing.T) {
		l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		peers := make(chan wamp.Peer, 10)
		srv, err := transport.NewServer(cfg, serving(func(ctx context.Context, p wamp.Peer) {
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
		web := &http.Transport{DialContext: l.dial}
		stop := func() { cancel(); wg.Wait() }
		f(t, &poller{t: t, web: &http.Client{Transport: web}, url: "http://gateway/lp"}, peers, stop)
		web.CloseIdleConnections()
		stop()
	})
}

func TestLongPollSessionOfAVanishedClientEnds(t *testing.T) {
	t.Parallel()
	timed(t, transport.ServerConfig{}, func(t *testing.T, p *poller, peers <-chan wamp.Peer, _ func()) {
		s := p.open("wamp.2.json")
		router := <-peers
		began := time.Now()
		_, err := router.Recv()
		if d := time.Since(began); err == nil || errors.Is(err, io.EOF) || d != transport.DefaultLongPollIdle {
			t.Errorf("the session ended after %v with %v", d, err)
		}
		if err := router.TrySend(&wamp.Published{Request: 1, Publication: 1}); !errors.Is(err, wamp.ErrClosed) {
			t.Errorf("then a send returns %v", err)
		}
		if status, _ := s.post("receive", nil); status != http.StatusNotFound {
			t.Errorf("then a receive is answered by %d", status)
		}
	})
}

func TestLongPollSessionLastsWhileRequestsCome(t *testing.T) {
	t.Parallel()
	timed(t, transport.ServerConfig{}, func(t *testing.T, p *poller, peers <-chan wamp.Peer, _ func()) {
		s := p.open("wamp.2.json")
		router := <-peers
		for range 20 {
			began := time.Now()
			status, b := s.post("receive", nil)
			if d := time.Since(began); status != http.StatusNoContent || len(b) > 0 || d != transport.DefaultLongPollWait {
				t.Fatalf("a receive without messages was answered by %d, %q after %v", status, b, d)
			}
		}
		time.Sleep(transport.DefaultLongPollIdle - transport.DefaultLongPollWait - time.Second)
		if err := router.TrySend(&wamp.Published{Request: 1, Publication: 2}); err != nil {
			t.Fatal(err)
		}
		if got := string(s.receive()); got != "[17,1,2]" {
			t.Errorf("received %s", got)
		}
	})
}

// The HTTP server ends requests after 30 s unless told otherwise.
func TestAReceiveMayWaitLongerThanOtherRequests(t *testing.T) {
	t.Parallel()
	lp := transport.LongPollConfig{Wait: 5 * time.Minute, Idle: 10 * time.Minute}
	timed(t, transport.ServerConfig{LongPoll: lp}, func(t *testing.T, p *poller, peers <-chan wamp.Peer, _ func()) {
		s := p.open("wamp.2.json")
		router := <-peers
		time.AfterFunc(4*time.Minute, func() {
			if err := router.TrySend(&wamp.Published{Request: 1, Publication: 2}); err != nil {
				t.Error(err)
			}
		})
		if status, b := s.post("receive", nil); status != http.StatusOK || string(b) != "[17,1,2]" {
			t.Errorf("answered by %d, %s", status, b)
		}
	})
}

func TestASendMayWaitForASlowReceiver(t *testing.T) {
	t.Parallel()
	lp := transport.LongPollConfig{Idle: 10 * time.Minute}
	timed(t, transport.ServerConfig{LongPoll: lp}, func(t *testing.T, p *poller, peers <-chan wamp.Peer, _ func()) {
		s := p.open("wamp.2.json")
		router := <-peers
		time.AfterFunc(2*time.Minute, func() {
			if m, err := router.Recv(); err != nil {
				t.Error(m, err)
			}
		})
		s.send([]byte("[34,1,2]"))
	})
}

func TestAReceiveThatHungUpLosesNothing(t *testing.T) {
	t.Parallel()
	timed(t, transport.ServerConfig{}, func(t *testing.T, p *poller, peers <-chan wamp.Peer, _ func()) {
		s := p.open("wamp.2.json")
		router := <-peers
		ctx, cancel := context.WithCancel(t.Context())
		go s.do(ctx, http.MethodPost, "receive", nil, nil)
		synctest.Wait()
		cancel()
		synctest.Wait()
		if err := router.TrySend(&wamp.Published{Request: 1, Publication: 2}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := string(s.receive()); got != "[17,1,2]" {
			t.Errorf("received %s", got)
		}
	})
}

func TestAnAnswerThatIsNotTakenEndsTheSession(t *testing.T) {
	t.Parallel()
	opts := transport.Options{Queue: 4 << 20}
	timed(t, transport.ServerConfig{Options: opts}, func(t *testing.T, p *poller, peers <-chan wamp.Peer, _ func()) {
		s := p.open("wamp.2.json")
		router := <-peers
		_, end := received(router)
		if err := router.TrySend(&wamp.Event{Subscription: 1, Publication: 1, Payload: wamp.Args(strings.Repeat("x", 1<<20))}); err != nil {
			t.Fatal(err)
		}
		conn, err := s.web.Transport.(*http.Transport).DialContext(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		began := time.Now()
		if _, err := conn.Write([]byte("POST " + strings.TrimPrefix(s.url, "http://gateway") + "/receive HTTP/1.1\r\nHost: gateway\r\nContent-Length: 0\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		err = <-end
		if d := time.Since(began); err == nil || errors.Is(err, io.EOF) || d != transport.DefaultWriteTimeout {
			t.Errorf("the session ended after %v with %v", d, err)
		}
	})
}

func TestAServerThatStopsLetsAReceiveHaveTheLastWord(t *testing.T) {
	t.Parallel()
	timed(t, transport.ServerConfig{}, func(t *testing.T, p *poller, peers <-chan wamp.Peer, stop func()) {
		waiting := p.open("wamp.2.json")
		p.open("wamp.2.json") // whose client is absent
		first, second := <-peers, <-peers
		answer := make(chan string, 1)
		go func() { answer <- string(waiting.receive()) }()
		synctest.Wait()
		if err := errors.Join(first.TrySend(goodbye), second.TrySend(goodbye)); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		stop()
		if d := time.Since(began); d != transport.DefaultLinger {
			t.Errorf("stopping took %v", d)
		}
		if got := <-answer; !strings.Contains(got, "wamp.close.killed") {
			t.Errorf("the last word is %s", got)
		}
	})
}

var goodbye = &wamp.Goodbye{Reason: wamp.CloseURIKilled}

// Each of many clients is between two requests when the server stops, some have
// other messages to fetch first; all come back within the time that it lingers.
func TestAServerThatStopsKeepsTheLastWordForTheNextRequest(t *testing.T) {
	t.Parallel()
	const clients = 300
	cfg := transport.ServerConfig{LongPoll: transport.LongPollConfig{MaxSessions: clients}, MaxHalfOpen: 2 * clients}
	timed(t, cfg, func(t *testing.T, p *poller, peers <-chan wamp.Peer, stop func()) {
		var sessions []*poller
		for i := range clients {
			sessions = append(sessions, p.open("wamp.2.json"))
			router := <-peers
			for range i % 3 {
				if err := router.TrySend(&wamp.Published{Request: 1, Publication: 2}); err != nil {
					t.Fatal(err)
				}
			}
			if err := router.TrySend(goodbye); err != nil {
				t.Fatal(err)
			}
		}
		stopped := make(chan time.Duration, 1)
		began := time.Now()
		go func() {
			stop()
			stopped <- time.Since(began)
		}()
		synctest.Wait()
		if status, _ := p.post("open", []byte(`{"protocols": ["wamp.2.json"]}`)); status != http.StatusServiceUnavailable {
			t.Errorf("a new session is answered by %d", status)
		}
		if status, _ := (&poller{t: t, web: p.web, url: "http://gateway"}).post("other", nil); status != http.StatusServiceUnavailable {
			t.Errorf("another request is answered by %d", status)
		}
		// The HTTP library looks whether its connections are idle after 1 ms, 2 ms, 4 ms ...
		time.Sleep(transport.DefaultLinger - 100*time.Millisecond)
		seen := 0
		for i, s := range sessions {
			for range i % 3 {
				s.receive()
			}
			if strings.Contains(string(s.receive()), "wamp.close.killed") {
				seen++
			}
		}
		if seen != clients {
			t.Errorf("%d of %d have seen GOODBYE", seen, clients)
		}
		if d := <-stopped; d >= transport.DefaultLinger {
			t.Errorf("stopping took %v though all have fetched all", d)
		}
	})
}
