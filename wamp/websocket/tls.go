package websocket

import (
	"context"
	"crypto/tls"
	"net"
)

// dialTLS opens a TLS connection on top of dial and completes its handshake.
func dialTLS(ctx context.Context, dial func(network, addr string) (net.Conn, error), network, addr string, cfg *tls.Config) (net.Conn, error) {
	conn, err := dial(network, addr)
	if err != nil {
		return nil, err
	}
	c := cfg.Clone()
	if c == nil {
		c = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if c.ServerName == "" {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			host = addr
		}
		c.ServerName = host
	}
	t := tls.Client(conn, c)
	if err := t.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return t, nil
}
