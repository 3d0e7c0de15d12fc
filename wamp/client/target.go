package client

import (
	"context"
	"sync"

	"gantry/wamp"
	"gantry/wamp/transport"
)

// pipeTransport is what PeerInfo calls connections inside the process.
const pipeTransport = "pipe"

// Dialer opens a connection to a router.
type Dialer func(ctx context.Context) (wamp.Peer, error)

// URL reaches a router by URL, over any transport: ws, wss, rs, rss, lp, lps, and
// ws+unix, rs+unix, lp+unix (see transport.Dial, which also says what cfg is for).
// A TLS certificate to show, and the cookies to send, are in cfg.
func URL(url string, cfg transport.DialConfig) Dialer {
	return func(ctx context.Context) (wamp.Peer, error) { return transport.Dial(ctx, url, cfg) }
}

// Router is a router in the same process: it serves one peer until that leaves.
type Router interface {
	Accept(ctx context.Context, p wamp.Peer)
}

// Embedded reaches a router in the same process. Values are handed over as they
// are, without being encoded. A zero cfg stands for the defaults.
func Embedded(r Router, cfg transport.PipeConfig) Dialer {
	return func(context.Context) (wamp.Peer, error) {
		mine, theirs := transport.Pipe(cfg)
		p := &embedded{Peer: mine}
		var ctx context.Context
		ctx, p.cancel = context.WithCancel(context.Background())
		p.served.Go(func() { r.Accept(ctx, theirs) })
		return p, nil
	}
}

// embedded is a pipe whose other end is served by a goroutine of its own.
type embedded struct {
	wamp.Peer
	cancel context.CancelFunc
	served sync.WaitGroup
}

// Close ends the connection and waits for the router to be done with it.
func (p *embedded) Close() error {
	err := p.Peer.Close()
	p.cancel()
	p.served.Wait()
	return err
}

// Connect makes one connection and joins: a session that does not come back. A
// refusal by the router is a *wamp.Error.
func Connect(ctx context.Context, dial Dialer, cfg SessionConfig) (*Session, error) {
	p, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	return Join(ctx, p, cfg)
}
