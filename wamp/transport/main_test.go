package transport_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gantry/wamp"
	"gantry/wamp/transport"
	"gantry/wamp/wamptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a transport.Server under test.
type server struct {
	*transport.Server
	network, addr string
	ln            net.Listener // at addr; the server closes it
	// peers receives the peers that arrive when there is no accept function of
	// the test's own. Unbuffered: each waits to be taken.
	peers chan wamp.Peer
	stop  func() // ends the server and waits for it; may be called twice
}

// serve runs a server on network, "tcp" or "unix". A nil accept hands the peers
// to the test; they stay open until it closes them or the server stops.
func serve(t testing.TB, network string, cfg transport.ServerConfig, accept func(context.Context, wamp.Peer)) *server {
	t.Helper()
	return serveLogged(t, network, cfg, accept, nil)
}

// serveLogged is serve with a log.
func serveLogged(t testing.TB, network string, cfg transport.ServerConfig, accept func(context.Context, wamp.Peer), log *slog.Logger) *server {
	t.Helper()
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = filepath.Join(t.TempDir(), "s")
	}
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{network: network, addr: ln.Addr().String(), ln: ln, peers: make(chan wamp.Peer)}
	if accept == nil {
		accept = func(ctx context.Context, p wamp.Peer) {
			select {
			case s.peers <- p:
				<-ctx.Done()
			case <-ctx.Done():
			}
		}
	}
	if cfg.MaxHello == 0 {
		cfg.MaxHello = 1 << 24 // most tests join no realm
	}
	srv, err := transport.NewServer(cfg, serving(accept), log)
	if err != nil {
		t.Fatal(err)
	}
	s.Server = srv
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := srv.Serve(ctx, ln); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	s.stop = func() { cancel(); wg.Wait() }
	t.Cleanup(s.stop)
	return s
}

// serving is what NewServer takes, for a function that does all at once.
func serving(accept func(context.Context, wamp.Peer)) func(context.Context, wamp.Peer) func() {
	return func(ctx context.Context, p wamp.Peer) func() { return func() { accept(ctx, p) } }
}

// url returns the URL that reaches the server by a link.
func (s *server) url(l wamptest.Link) string {
	scheme := map[string]string{"websocket": "ws", "rawsocket": "rs", "longpoll": "lp"}[l.Transport]
	if s.network == "unix" {
		return scheme + "+unix://" + s.addr
	}
	return scheme + "://" + s.addr
}

// dial connects with the client of the package and returns both ends.
func (s *server) dial(t testing.TB, l wamptest.Link, opts transport.Options) (client, router wamp.Peer) {
	t.Helper()
	c, err := transport.Dial(t.Context(), s.url(l), transport.DialConfig{Options: opts, Formats: []wamp.Format{l.Format}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, s.next(t)
}

// script connects with a scripted peer and returns it with the server's end.
func (s *server) script(t testing.TB, l wamptest.Link) (*wamptest.Peer, wamp.Peer) {
	t.Helper()
	return wamptest.Dial(t, s.network, s.addr, l), s.next(t)
}

func (s *server) next(t testing.TB) wamp.Peer {
	t.Helper()
	select {
	case p := <-s.peers:
		return p
	case <-time.After(wamptest.Deadline):
		t.Fatal("the server has accepted nobody")
	}
	return nil
}

// conn opens a bare connection that is closed with the test.
func (s *server) conn(t testing.TB) net.Conn {
	t.Helper()
	c, err := net.Dial(s.network, s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(wamptest.Deadline))
	return c
}

// echo sends back what arrives.
func echo(_ context.Context, p wamp.Peer) {
	for {
		m, err := p.Recv()
		if err != nil || p.TrySend(m) != nil {
			return
		}
	}
}

// each runs f for every network transport and serializer.
func each(t *testing.T, f func(t *testing.T, l wamptest.Link)) {
	t.Helper()
	for _, l := range wamptest.NetworkLinks() {
		t.Run(l.String(), func(t *testing.T) {
			t.Parallel()
			f(t, l)
		})
	}
}

// violates fails unless p's next Recv reports bytes that are no WAMP.
func violates(t *testing.T, p wamp.Peer) {
	t.Helper()
	m, err := p.Recv()
	var v *wamp.ProtocolError
	if !errors.As(err, &v) {
		t.Fatalf("received %v, %v, expected a protocol error", m, err)
	}
}

var teapot = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
