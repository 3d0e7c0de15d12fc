package mqttd

import (
	"fmt"
	"time"

	"gantry/bridge"
	"gantry/wamp"
)

// Config holds what may be set in the table [mqttd]. The zero value of a field
// stands for its default.
type Config struct {
	// Realm is the realm that clients join. Default "gantry".
	Realm wamp.URI `toml:"realm"`
	// MaxConnections is how many connections there may be, those that have not
	// sent CONNECT included; more are closed at once. Default 256.
	MaxConnections int `toml:"max_connections"`
	// MaxHalfOpen is how many of them may not have been admitted yet. Over it the
	// one that has waited longest is closed, among those of the address that most
	// are from. Default 64, but a quarter of MaxConnections at most (at least 16).
	MaxHalfOpen int `toml:"max_half_open"`
	// MaxPacket is the largest packet in bytes, without its fixed header, that a
	// client may send. Default 256 KiB.
	MaxPacket int `toml:"max_packet"`
	// QueueBytes is how much may wait to be sent to one client. A single larger
	// message passes when nothing else waits. Default 256 KiB.
	QueueBytes int `toml:"queue_bytes"`
	// InFlight is how many messages at QoS 1 and 2 one client may leave unacknowledged
	// before the next ones wait in its queue. Default 20.
	InFlight int `toml:"in_flight"`
	// MaxFilters is how many topic filters one client may hold; others are
	// refused in SUBACK. Default 256.
	MaxFilters int `toml:"max_filters"`
	// MaxSessions is how many sessions there may be, those without a connection
	// included. Default 1024.
	MaxSessions int `toml:"max_sessions"`
	// SessionExpiry is the longest that a session is kept without a connection, and how
	// long that of a client of MQTT 3.1.1 is. Default 168 h.
	SessionExpiry time.Duration `toml:"session_expiry"`
	// KeepAlive is the longest silence that a client of MQTT 5 is told to observe.
	// 0 = as long as the client wishes.
	KeepAlive time.Duration `toml:"keep_alive"`
	// ConnectTimeout is the longest wait for CONNECT. Default 5 s.
	ConnectTimeout time.Duration `toml:"connect_timeout"`
	// WriteTimeout is how long a client may take nothing that was sent to it.
	// Default 10 s.
	WriteTimeout time.Duration `toml:"write_timeout"`
}

// Bounds of the configuration.
const (
	minPacket = 128
	maxPacket = 16 << 20
	maxQueue  = 64 << 20
	// leastMaxPacket is the least maximum packet size of a client of MQTT 5: what CONNACK has to
	// tell fits.
	leastMaxPacket = 48
)

// withDefaults returns c with every field set.
func (c Config) withDefaults() Config {
	set(&c.Realm, "gantry")
	set(&c.MaxConnections, 256)
	set(&c.MaxHalfOpen, min(64, max(c.MaxConnections/4, 16)))
	set(&c.MaxPacket, 256<<10)
	set(&c.QueueBytes, 256<<10)
	set(&c.InFlight, 20)
	set(&c.MaxFilters, 256)
	set(&c.MaxSessions, 1024)
	set(&c.SessionExpiry, 7*24*time.Hour)
	set(&c.ConnectTimeout, 5*time.Second)
	set(&c.WriteTimeout, 10*time.Second)
	return c
}

func set[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Validate checks the configuration. The error is a *bridge.ConfigError.
func (c Config) Validate() error {
	c = c.withDefaults()
	if !c.Realm.Valid(false, wamp.MatchExact) {
		return &bridge.ConfigError{Key: "realm", Text: fmt.Sprintf("%.80q is no URI", c.Realm), Allowed: "the name of a realm of the router"}
	}
	for _, f := range []struct {
		key           string
		v, least, top int
	}{
		{"max_connections", c.MaxConnections, 1, 65536},
		{"max_half_open", c.MaxHalfOpen, 1, 65536},
		{"max_packet", c.MaxPacket, minPacket, maxPacket},
		{"queue_bytes", c.QueueBytes, 1024, maxQueue},
		{"in_flight", c.InFlight, 1, 65535},
		{"max_filters", c.MaxFilters, 1, 10000},
		{"max_sessions", c.MaxSessions, 1, 65536},
	} {
		if f.v < f.least || f.v > f.top {
			return &bridge.ConfigError{Key: f.key, Text: fmt.Sprintf("is %d", f.v), Allowed: fmt.Sprintf("%d to %d", f.least, f.top)}
		}
	}
	for _, f := range []struct {
		key string
		v   time.Duration
	}{{"connect_timeout", c.ConnectTimeout}, {"write_timeout", c.WriteTimeout}} {
		if f.v < 100*time.Millisecond || f.v > 5*time.Minute {
			return &bridge.ConfigError{Key: f.key, Text: "is " + f.v.String(), Allowed: "100ms to 5m"}
		}
	}
	if c.SessionExpiry < time.Second || c.SessionExpiry > 10*365*24*time.Hour {
		return &bridge.ConfigError{Key: "session_expiry", Text: "is " + c.SessionExpiry.String(), Allowed: "1s to 87600h"}
	}
	if c.KeepAlive != 0 && (c.KeepAlive < time.Second || c.KeepAlive > 65535*time.Second) {
		return &bridge.ConfigError{Key: "keep_alive", Text: "is " + c.KeepAlive.String(), Allowed: "0 (none), or 1s to 65535s"}
	}
	return nil
}
