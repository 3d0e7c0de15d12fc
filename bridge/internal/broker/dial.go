package broker

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

const (
	// ConnectTimeout bounds connecting, and the answer to CONNECT and SUBSCRIBE.
	ConnectTimeout = 10 * time.Second
	// websocketTimeout bounds the handshake of WebSocket. It is short, for paho's
	// cannot be cancelled and the end of the client waits for it.
	websocketTimeout = 4 * time.Second
)

// Dial connects to the broker at an address. now is the time of day by which its
// certificate is judged; nil is time.Now. tasks is what the caller waits for in the end.
func Dial(ctx context.Context, at string, security *TLS, now func() time.Time, tasks *sync.WaitGroup) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, ConnectTimeout)
	defer cancel()
	u, err := url.Parse(at)
	if err != nil {
		return nil, err
	}
	var secure *tls.Config
	if schemes[u.Scheme].secure {
		if secure, err = security.Config(u.Hostname(), now); err != nil {
			return nil, err
		}
	}
	if websocket(u) {
		return dialWebSocket(ctx, u.String(), secure, tasks)
	}
	network, addr := address(u)
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 6 * time.Second, Interval: 3 * time.Second, Count: 3}}
	if secure == nil {
		return d.DialContext(ctx, network, addr)
	}
	return (&tls.Dialer{NetDialer: &d, Config: secure}).DialContext(ctx, network, addr)
}

// dialWebSocket returns when ctx ends; the handshake goes on to its own timeout.
func dialWebSocket(ctx context.Context, url string, secure *tls.Config, tasks *sync.WaitGroup) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result) // unbuffered: who gives up waiting leaves the connection to the dialer
	tasks.Go(func() {
		conn, err := paho.NewWebsocket(url, secure, websocketTimeout, nil, nil)
		select {
		case done <- result{conn, err}:
		case <-ctx.Done():
			if err == nil {
				_ = conn.Close()
			}
		}
	})
	select {
	case r := <-done:
		return r.conn, r.err
	case <-ctx.Done():
		return nil, fmt.Errorf("websocket handshake: %w", ctx.Err())
	}
}
