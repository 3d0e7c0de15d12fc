package websocket

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"gantry/wamp/internal/outq"
)

// Config is what both sides of a connection set. The zero value of a field is its
// default.
type Config struct {
	// Subprotocols are offered by a client and understood by a server, the
	// preferred first. A server that has any refuses clients that offer none of
	// them.
	Subprotocols []string
	// MaxMessage is the largest message in bytes that is read. Default 1 MiB.
	MaxMessage int
	// QueueBytes is how much may wait to be sent. Default 1 MiB.
	QueueBytes int
	// HandshakeTimeout bounds the opening handshake. Default 5 s.
	HandshakeTimeout time.Duration
	// PingInterval is how long the other side may be silent before it is pinged;
	// when it stays silent for as long again the connection is dropped. Default 5 s;
	// negative: never.
	PingInterval time.Duration
	// WriteTimeout is how long the other side may take nothing. Default 10 s.
	WriteTimeout time.Duration
	// Linger bounds the flush and the closing handshake in Close. Default 2 s.
	Linger time.Duration
	// CheckOrigin decides on a server whether a browser page may connect. Default:
	// SameOrigin.
	CheckOrigin func(r *http.Request) bool
	// Header is sent by a client in its handshake, and by a server in its answer.
	Header http.Header
	// TLS is used by a client for wss. Default: the system's certificates.
	TLS *tls.Config
	// NetDial opens a client's connection. Default: TCP to the URL's host.
	NetDial func(network, addr string) (net.Conn, error)
}

func orDefault[T int | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

func (c Config) withDefaults() Config {
	orDefault(&c.MaxMessage, 1<<20)
	orDefault(&c.QueueBytes, 1<<20)
	orDefault(&c.HandshakeTimeout, 5*time.Second)
	orDefault(&c.PingInterval, 5*time.Second)
	orDefault(&c.WriteTimeout, 10*time.Second)
	orDefault(&c.Linger, 2*time.Second)
	if c.CheckOrigin == nil {
		c.CheckOrigin = SameOrigin
	}
	return c
}

func (c *Config) queue() outq.Config {
	return outq.Config{Limit: c.QueueBytes, WriteTimeout: c.WriteTimeout, Linger: c.Linger}
}

// SameOrigin admits requests without an Origin header, as programs send them, and
// pages that come from the host they connect to.
func SameOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && strings.EqualFold(u.Host, r.Host)
}

// AllowOrigins admits what SameOrigin does and the origins listed, such as
// "https://dash.example.net"; "*" admits all.
func AllowOrigins(origins ...string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		if SameOrigin(r) {
			return true
		}
		for _, o := range origins {
			if o == "*" || strings.EqualFold(o, r.Header.Get("Origin")) {
				return true
			}
		}
		return false
	}
}
