package natslink

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"
)

var (
	errNoServer = errors.New("what answers is no NATS server")
	errNoTLS    = errors.New("the server does not offer TLS")
)

// dialer makes the one connection of c, TLS included, and guards it. It implements
// nats.CustomDialer.
type dialer struct {
	ctx context.Context // of Connect
	c   *conn
}

// SkipTLSHandshake tells nats.go that Dial has done it.
func (d *dialer) SkipTLSHandshake() bool { return true }

// Dial connects to a server and waits for what it says first: that it speaks NATS, and
// whether TLS is to begin.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(d.ctx, connectTimeout)
	defer cancel()
	nd := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 6 * time.Second, Interval: 3 * time.Second, Count: 3}}
	nc, err := nd.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	// Also after Dial, while nats.go logs in: it knows no context.
	stop := context.AfterFunc(d.ctx, func() { _ = nc.Close() })
	g, err := d.greet(ctx, nc, address)
	if err != nil {
		stop()
		if d.ctx.Err() != nil {
			err = d.ctx.Err()
		}
		return nil, err
	}
	d.c.stopDial, d.c.guard = stop, g
	return g, nil
}

// greet reads INFO and turns nc into a guarded connection, or closes it.
func (d *dialer) greet(ctx context.Context, nc net.Conn, address string) (net.Conn, error) {
	deadline, _ := ctx.Deadline()
	_ = nc.SetReadDeadline(deadline) // fails on a closed connection only, as the read will
	g := newGuard(nc, maxMessage)
	line, err := g.line()
	var info struct {
		Required  bool `json:"tls_required"`
		Available bool `json:"tls_available"`
	}
	if err == nil {
		text, ok := bytes.CutPrefix(line, []byte("INFO "))
		if !ok || json.Unmarshal(text, &info) != nil {
			err = errNoServer
		}
	}
	if secure := d.c.sink.secure(); err == nil && (secure || info.Required) {
		if !info.Required && !info.Available {
			err = errNoTLS
		} else {
			nc, err = d.encrypt(ctx, nc, g, address)
		}
	}
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	_ = nc.SetReadDeadline(time.Time{})
	greeting := bytes.Clone(line)
	if nc != g.Conn {
		g = newGuard(nc, maxMessage)
	}
	g.rest = greeting
	return g, nil
}

// encrypt begins TLS on nc, of which g has read a line.
func (d *dialer) encrypt(ctx context.Context, nc net.Conn, g *guard, address string) (net.Conn, error) {
	if g.r.Buffered() > 0 {
		return nc, fmt.Errorf("%w: it goes on before TLS has begun", errNoServer)
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nc, err
	}
	cfg, err := d.c.sink.tls.Config(host, d.c.sink.cfg.Now)
	if err != nil {
		return nc, err
	}
	secure := tls.Client(nc, cfg)
	return secure, secure.HandshakeContext(ctx)
}
