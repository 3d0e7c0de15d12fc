package websocket_test

import (
	"context"
	"errors"
	"net"
	"testing"

	"gantry/wamp/websocket"
)

// pipe is a listener for connections in memory, which follow the clock of a
// synctest bubble.
type pipe struct {
	conns chan net.Conn // never closed; Accept takes what dial puts in
	done  chan struct{} // closed by Close
}

func newPipe() *pipe { return &pipe{make(chan net.Conn), make(chan struct{})} }

func (p *pipe) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipe) Close() error {
	select {
	case <-p.done:
	default:
		close(p.done)
	}
	return nil
}

func (p *pipe) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// dial is a Dialer.DialNet.
func (p *pipe) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.conns <- far:
		return near, nil
	case <-p.done:
		return nil, errors.New("nobody listens")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// piped serves s in memory until the test ends and returns the pipe.
func piped(t *testing.T, s *websocket.Server) *pipe {
	t.Helper()
	p := newPipe()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- websocket.Serve(ctx, p, s) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error("Serve:", err)
		}
	})
	return p
}

// both connects a client with a server and returns both ends.
func both(t *testing.T, s *websocket.Server, d *websocket.Dialer) (client, server *websocket.Conn) {
	t.Helper()
	got := make(chan *websocket.Conn)
	end := make(chan struct{})
	url := serve(t, s, func(c *websocket.Conn) {
		got <- c
		<-end
		_ = c.Abandon()
	})
	client = dial(t, d, url)
	t.Cleanup(func() {
		_ = client.Abandon()
		close(end)
	})
	return client, <-got
}
