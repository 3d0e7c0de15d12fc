package transport_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"gantry/internal/budget"
	"gantry/wamp"
	"gantry/wamp/transport"
	"gantry/wamp/wamptest"
)

// also serves a Unix socket with the same server.
func (s *server) also(t *testing.T) *server {
	t.Helper()
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Serve(ctx, ln); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	local := &server{Server: s.Server, network: "unix", addr: ln.Addr().String(), peers: s.peers, stop: func() { cancel(); wg.Wait() }}
	t.Cleanup(local.stop)
	return local
}

// What one listener's clients hold is not there for those of another.
func TestListenersShareTheirMemory(t *testing.T) {
	t.Parallel()
	opts := hasty
	opts.MaxMessage = 1 << 17
	l := wamptest.Link{Transport: "rawsocket", Format: wamp.JSON}
	memory := budget.New(530_000)
	network := serve(t, "tcp", transport.ServerConfig{Options: opts, Memory: memory}, echo)
	local := network.also(t)
	other := serve(t, "tcp", transport.ServerConfig{Options: opts, Memory: memory}, echo)
	begun := "\x00\x01\x80\x00["
	for _, s := range []*server{network, local} {
		wamptest.Dial(t, s.network, s.addr, l).SendBytes([]byte(begun))
	}
	until(t, "both are begun", func() bool { return other.Stats().Arriving == 2*98_304 })
	third := wamptest.Dial(t, other.network, other.addr, l)
	third.SendBytes([]byte(begun))
	small := wamptest.Dial(t, other.network, other.addr, l)
	for range 50 {
		small.Send(`[16, 1, {}, "a.b"]`)
		small.Expect(`[16, 1, {}, "a.b"]`)
	}
	if n := other.Stats().Arriving; n != 2*98_304 {
		t.Errorf("a third message has got memory: %d bytes in all", n)
	}
	network.stop()
	until(t, "the third has it now", func() bool { return other.Stats().Arriving == 2*98_304 })
}

// Connections of all listeners count together; this machine has a few places more.
func TestTheUnixSocketIsOpenWhenTheNetworkIsFull(t *testing.T) {
	t.Parallel()
	ours, theirs := certificate(t)
	s := serve(t, "tcp", transport.ServerConfig{Options: hasty, MaxConns: 2, TLS: ours}, echo)
	local := s.also(t)
	for range 2 {
		p, err := transport.Dial(t.Context(), "rss://"+s.addr, transport.DialConfig{TLS: theirs, Options: hasty})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = p.Close() }()
	}
	_, err := transport.Dial(t.Context(), "rss://"+s.addr, transport.DialConfig{TLS: theirs, Options: hasty})
	var refusal *transport.RawSocketError
	if !errors.As(err, &refusal) || refusal.Code != transport.RawTooManyConnections {
		t.Errorf("a third connection from the network: %v", err)
	}
	for range 4 { // and without TLS
		p, err := transport.Dial(t.Context(), "rs+unix://"+local.addr, transport.DialConfig{Options: hasty})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = p.Close() }()
		if p.Info().Encrypted || p.TrySend(publish("x")) != nil {
			t.Error("no session over the Unix socket")
		}
	}
	if st := s.Stats(); st.Open < 6 {
		t.Errorf("%d connections are counted", st.Open)
	}
}
