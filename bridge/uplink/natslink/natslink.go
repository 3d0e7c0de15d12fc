// Package natslink is the far world of NATS servers with JetStream, for uplinks: events
// are messages on subjects of their own names, and the gateway's procedures are a NATS
// micro service.
//
// A stream acknowledges each event; its Nats-Msg-Id lets the stream know one that is
// sent again. What a stream does not take for now ends the connection, so that the
// queue holds it: no stream for the subject, a full stream, a cluster without a leader.
package natslink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"gantry/bridge"
	"gantry/bridge/internal/broker"
	"gantry/bridge/uplink"
	"gantry/internal/ratelog"
)

// Config says which servers, and what they get.
type Config struct {
	// URL is one or more addresses, nats:// or tls://, with commas between.
	URL string
	// User and Password log in; a Password alone is a token.
	User     string
	Password bridge.Secret
	// Key is a seed of an nkey, or the text of a credentials file; the alternative to
	// Password.
	Key bridge.Secret
	// Now is the time of day, by which the server's certificate is judged; nil is time.Now.
	Now func() time.Time
	// CA is a file in PEM form; "" = the certificates of the system.
	CA string
	// Gateway is the gateway's name, Version the program's.
	Gateway, Version string
	// Stream begins every Nats-Msg-Id: another one for every queue that ever was.
	Stream string
	// NATS names the stream, and the client's certificate; with its defaults.
	NATS uplink.NATS
	// Commands are what may be called.
	Commands *uplink.Commands
}

// Sink is a NATS server or a cluster of them. It implements uplink.Sink.
type Sink struct {
	cfg     Config
	tls     broker.TLS
	log     *slog.Logger
	rare    *ratelog.Log
	calls   calls
	trouble atomic.Int64 // when a stream took an event last not, nanoseconds since 1970
}

var _ uplink.Sink = (*Sink)(nil)

// New checks cfg, but for URL and files, and connects nowhere. A nil log discards.
func New(cfg Config, log *slog.Logger) (*Sink, error) {
	if cfg.URL == "" || cfg.Gateway == "" || cfg.Stream == "" || cfg.Commands == nil {
		return nil, errors.New("natslink: URL, gateway, stream and commands are required")
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	security := broker.TLS{CA: cfg.CA, Cert: cfg.NATS.Cert, Key: cfg.NATS.Key}
	return &Sink{cfg: cfg, tls: security, log: log, rare: ratelog.New(log, time.Minute, nil)}, nil
}

// options says how to connect.
func (s *Sink) options(ctx context.Context, c *conn) (nats.Options, error) {
	o := nats.GetDefaultOptions()
	o.Servers = strings.Split(s.cfg.URL, ",")
	o.Name = "gantry " + s.cfg.Gateway
	o.Timeout = connectTimeout
	o.PingInterval, o.MaxPingsOut = pingInterval, 1
	o.FlusherTimeout = writeTimeout
	// A new connection is the uplink's business.
	o.AllowReconnect = false
	o.IgnoreDiscoveredServers = true
	o.SkipHostLookup = true
	o.NoEcho = true
	o.CustomDialer = &dialer{ctx: ctx, c: c}
	o.AsyncErrorCB = func(_ *nats.Conn, _ *nats.Subscription, err error) { c.complaint(err) }
	o.ClosedCB = func(nc *nats.Conn) {
		c.end(lost(nc.LastError()))
		close(c.closed)
	}
	var err error
	c.login, err = s.logIn(&o)
	return o, err
}

// logIn says who the gateway is. It returns that in words.
func (s *Sink) logIn(o *nats.Options) (login string, err error) {
	switch {
	case s.cfg.Key != nil:
		text, err := s.cfg.Key.Reveal()
		if err != nil {
			return "", err
		}
		return logInByKey(o, text)
	case s.cfg.Password == nil:
		return "", nil
	}
	password, err := s.cfg.Password.Reveal()
	if err != nil {
		return "", err
	}
	if s.cfg.User == "" {
		o.Token = password
		return "this token", nil
	}
	o.User, o.Password = s.cfg.User, password
	return "user " + s.cfg.User + " with this password", nil
}

// logInByKey is logIn by the seed of an nkey, or by a credentials file.
func logInByKey(o *nats.Options, text string) (login string, err error) {
	if strings.Contains(text, "-----BEGIN") {
		if _, err := nkeys.ParseDecoratedJWT([]byte(text)); err != nil {
			return "", fmt.Errorf("key is no credentials file: %w", err)
		}
		pair, err := nkeys.ParseDecoratedUserNKey([]byte(text))
		if err != nil {
			return "", fmt.Errorf("key is no credentials file: %w", err)
		}
		public, err := pair.PublicKey()
		if err != nil {
			return "", err
		}
		return "the credentials of " + public, nats.UserCredentialBytes([]byte(text))(o)
	}
	pair, err := nkeys.FromSeed([]byte(strings.TrimSpace(text)))
	if err != nil {
		return "", fmt.Errorf("key is neither an nkey's seed nor a credentials file: %w", err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		return "", err
	}
	return "the nkey " + public, nats.Nkey(public, pair.Sign)(o)
}

// secure reports whether the servers must offer TLS.
func (s *Sink) secure() bool {
	return strings.HasPrefix(s.cfg.URL, "tls://") || s.tls != broker.TLS{}
}
