package bridge

import (
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"gantry/internal/wallclock"
	"gantry/wamp"
)

// OriginConfig says whose readings a bridge publishes.
type OriginConfig struct {
	// Gateway is the gateway's name: 1 to 64 of a-z 0-9 _.
	Gateway string
	// Epoch must be higher at each start of the gateway, 1..2^53.
	Epoch uint64
	// Clock is the time of day of events; nil = that of Now, which nobody trusts.
	Clock *wallclock.Clock
	// Now is the clock by which rules decide how long ago something was; nil =
	// time.Now.
	Now func() time.Time
	// MaxStreams bounds the topics that readings are published on, as names come
	// out of MQTT topics that anybody may publish to. Default 4096.
	MaxStreams int
}

// Origin numbers the events that the bridges of one gateway publish. All of them
// share one, so that gateway, topic, epoch and sequence identify an event for
// ever. It is safe for concurrent use.
type Origin struct {
	cfg   OriginConfig
	own   wamp.URI // what topics of the gateway begin with
	epoch any      // cfg.Epoch as it goes on the wire, boxed once

	mu      sync.Mutex // guards streams
	streams map[wamp.URI]int64
}

// NewOrigin validates cfg. The error is a *ConfigError.
func NewOrigin(cfg OriginConfig) (*Origin, error) {
	if !ValidName(cfg.Gateway) {
		return nil, bad("gateway.name", allowedName, "%.80q is not a name", cfg.Gateway)
	}
	if cfg.Epoch < 1 || cfg.Epoch > uint64(wamp.MaxID) {
		return nil, bad("epoch", "1 to 2^53", "is %d", cfg.Epoch)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Clock == nil {
		cfg.Clock = wallclock.New(wallclock.Config{System: cfg.Now, Synced: func() bool { return false }})
	}
	if cfg.MaxStreams <= 0 {
		cfg.MaxStreams = 4096
	}
	return &Origin{cfg: cfg, own: wamp.URI("gantry." + cfg.Gateway + "."), epoch: int64(cfg.Epoch), streams: map[wamp.URI]int64{}}, nil
}

// Gateway returns the gateway's name.
func (o *Origin) Gateway() string { return o.cfg.Gateway }

// URI returns gantry.<gateway>.<class>.<device>.<name>.
func (o *Origin) URI(class, device, name string) wamp.URI {
	return wamp.URI("gantry." + o.cfg.Gateway + "." + class + "." + device + "." + name)
}

// Stamp returns the keyword arguments that every event on topic has: ts, clk, ep
// and seq, and up where ts is a guess. ok is false when there are too many topics
// already.
func (o *Origin) Stamp(topic wamp.URI) (kwargs wamp.Dict, ok bool) {
	o.mu.Lock()
	seq, known := o.streams[topic]
	if !known && len(o.streams) >= o.cfg.MaxStreams {
		o.mu.Unlock()
		return nil, false
	}
	seq++
	o.streams[topic] = seq
	o.mu.Unlock()
	kwargs = wamp.Dict{"ep": o.epoch, "seq": seq}
	o.Date(kwargs)
	return kwargs, true
}

// Date puts the present time into the keyword arguments of an event that has no place
// in a stream: ts and clk, and up where ts is a guess.
func (o *Origin) Date(kwargs wamp.Dict) {
	at := o.cfg.Clock.Stamp(time.Time{})
	kwargs["ts"], kwargs["clk"] = at.TS, "sync"
	if at.Up != 0 {
		kwargs["clk"], kwargs["up"] = "guess", at.Up
	}
}

// Now returns the time of day. While nobody knows it, it is never before what has
// passed for certain.
func (o *Origin) Now() time.Time { return o.cfg.Clock.Now() }

// ClockError returns an error of a connection. One that says that a certificate is not
// valid now says instead, as long as that may be so, that the time is not known.
func (o *Origin) ClockError(err error) error {
	var invalid x509.CertificateInvalidError
	if !errors.As(err, &invalid) || invalid.Reason != x509.Expired || o.cfg.Clock.Synced() {
		return err
	}
	return fmt.Errorf("the clock is not set (it says %s), so that nobody knows whether the certificate is valid; it is tried again when a time server has set it: %w",
		o.Now().UTC().Format(time.DateTime), err)
}

// since returns the time of day of a time of this process, in microseconds UTC.
func (o *Origin) since(t time.Time) int64 { return o.cfg.Clock.Stamp(t).TS }

// allowedName says in messages what ValidName accepts.
const allowedName = "1 to 64 of a-z 0-9 _"

const maxName = 64

// ValidName reports whether s can be the name of a gateway, device or point, or
// of a bridge: 1 to 64 of a-z 0-9 _.
func ValidName(s string) bool {
	return s != "" && len(s) <= maxName && sanitised(s) == s
}

// sanitised makes a name of any text: letters in lower case, and _ in place of
// every other byte that a name cannot have. Different texts may have the same
// name.
func sanitised(s string) string {
	b := []byte(s[:min(len(s), maxName)])
	for i, c := range b {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case c >= 'A' && c <= 'Z':
			b[i] = c + 'a' - 'A'
		default:
			b[i] = '_'
		}
	}
	if len(b) == 0 {
		return "_"
	}
	return string(b)
}
