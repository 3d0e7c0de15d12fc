// Package mqttlink is the far world of MQTT brokers, for uplinks: events as JSON or as
// Sparkplug B, calls as requests with answers or as Sparkplug commands.
//
// What is on its way is acknowledged by the broker: JSON by PUBACK; Sparkplug, which
// demands QoS 0, by the answer to an UNSUBSCRIBE of nothing that is sent behind it, as
// a broker takes the packets of a connection in order.
package mqttlink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"gantry/bridge"
	"gantry/bridge/internal/broker"
	"gantry/bridge/uplink"
	"gantry/internal/ratelog"
	"gantry/wamp"
)

// Config says which broker, and what it gets.
type Config struct {
	// URL is the broker's address, as of [broker.NAME] (docs/mqtt.md).
	URL string
	// ClientID is the client identifier.
	ClientID string
	// User and Password log in; "" and nil = without.
	User     string
	Password bridge.Secret
	// CA, Cert and Key are files in PEM form; "" = those of the system, and none.
	CA, Cert, Key string
	// Now is the time of day, by which the broker's certificate is judged; nil is time.Now.
	Now func() time.Time
	// Gateway is the gateway's name.
	Gateway string
	// Sparkplug is the edge node to be; nil: events are JSON.
	Sparkplug *Sparkplug
	// Commands are what may be called.
	Commands *uplink.Commands
}

// Sparkplug says which edge node the gateway is.
type Sparkplug struct {
	// Group and Node are the identifiers.
	Group, Node string
	// Start is any number that is another one at each start of the gateway: birth and
	// death certificates are counted from it.
	Start uint64
	// Local is a session in the gateway's realm: births tell the present values.
	Local wamp.Session
}

// Sink is a broker. It implements uplink.Sink.
type Sink struct {
	cfg  Config
	tls  broker.TLS
	rare *ratelog.Log
	form form

	unborn func() uint64 // nil: there are no births
}

var _ uplink.Sink = (*Sink)(nil)

// form is what events and commands look like.
type form interface {
	// will returns what the broker says when the connection is lost.
	will() message
	// filters are what the broker sends.
	filters() []string
	// begin says what comes before all events, to whom is subscribed already.
	begin(ctx context.Context, c *conn) error
	// send sends events in order and tells answered as uplink.Conn has it.
	send(ctx context.Context, c *conn, events []uplink.Event, answered func(int, error)) error
	// command deals with a message of the broker that is not retained.
	command(ctx context.Context, c *conn, m message)
	// farewell is what is said before the connection is closed.
	farewell() message
}

// message is a message of MQTT.
type message struct {
	topic   string
	payload []byte
	qos     byte
	retain  bool
}

// New checks cfg, but for URL and files, and connects nowhere. A nil log discards.
func New(cfg Config, log *slog.Logger) (*Sink, error) {
	if cfg.Gateway == "" || cfg.ClientID == "" || cfg.Commands == nil {
		return nil, errors.New("mqttlink: gateway, client identifier and commands are required")
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Sink{cfg: cfg, rare: ratelog.New(log, 0, nil), tls: broker.TLS{CA: cfg.CA, Cert: cfg.Cert, Key: cfg.Key}}
	if cfg.Sparkplug == nil {
		s.form = newPlain(cfg, s.reject)
		return s, nil
	}
	if cfg.Sparkplug.Local == nil || bridge.CheckTopic(cfg.Sparkplug.Group+cfg.Sparkplug.Node) != nil {
		return nil, fmt.Errorf("mqttlink: %.80q and %.80q are no identifiers of a Sparkplug edge node", cfg.Sparkplug.Group, cfg.Sparkplug.Node)
	}
	e := newEdge(cfg, s.rare, s.reject)
	s.form, s.unborn = e, e.catalog.unborn.Load
	return s, nil
}

// Unborn returns how many present values, devices' points and states, the birth certificates
// of Sparkplug have lacked, because they cannot be metrics or there are too many.
func (s *Sink) Unborn() uint64 {
	if s.unborn == nil {
		return 0
	}
	return s.unborn()
}

// reject counts a command that is not carried out, and logs a sample.
func (s *Sink) reject(text, topic string, more ...any) {
	s.cfg.Commands.Reject()
	s.rare.Log(slog.LevelWarn, text, append([]any{"topic", topic}, more...)...)
}

// Connect implements uplink.Sink.
func (s *Sink) Connect(ctx context.Context) (uplink.Conn, error) {
	c, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.begin(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}
