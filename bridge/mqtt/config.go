package mqtt

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"gantry/bridge"
	"gantry/bridge/internal/broker"
)

// Config is the table [broker.NAME].
type Config struct {
	// URL is the broker: tcp://host or mqtt://host (port 1883), ssl://host or
	// mqtts://host (port 8883), ws://host/path, wss://host/path, or unix:///path.
	// Required.
	URL string `toml:"url"`
	// ClientID is the client identifier, of which the broker serves one connection
	// at a time. 1 to 256 bytes. Default gantry_<gateway>.
	ClientID string `toml:"client_id"`
	// User is the user name. "" = none.
	User string `toml:"user"`
	// Password is read at each connect; nil = none.
	Password bridge.Secret `toml:"password"`
	// KeepAlive is the longest silence before a ping, in whole seconds from 1 s to
	// 1 h; a broker that is gone is noticed within twice that. Default 8 s.
	KeepAlive time.Duration `toml:"keep_alive"`
	// Persistent asks the broker to keep the session while the client is away, with
	// the messages at QoS 1 that come meanwhile. Subscriptions of rules that have
	// been removed since stay there, too.
	Persistent bool `toml:"persistent"`
	// MaxPacket is the largest packet in bytes, without its fixed header, that is
	// taken; a larger one ends the connection. 1024 to 16 MiB, default 256 KiB, and
	// 4 MiB with the shape zigbee2mqtt.
	MaxPacket int `toml:"max_packet"`
	// Status is a topic on which the client says "online" and "offline", retained at
	// QoS 1: the latter is its will, too. "" = none, or gantry/<gateway>/status where
	// devices are shown to Home Assistant.
	Status string `toml:"status"`
	// InFlight is how many messages of calls may wait for the broker's
	// acknowledgement at a time; more calls wait. 1 to 1000, default 20.
	InFlight int `toml:"in_flight"`
	// Probe is how long the broker may deliver nothing until the client publishes to
	// ProbeTopic and wants that back: a broker that answers pings may have lost the
	// subscriptions. 1 s to 24 h, default 1 min.
	Probe time.Duration `toml:"probe"`
	// ProbeTopic must be free for the client to publish and subscribe to. Default
	// gantry/probe/<client_id>.
	ProbeTopic string `toml:"probe_topic"`
	// NoProbe: rely on pings alone.
	NoProbe bool `toml:"no_probe"`
	// TLS is for ssl, mqtts and wss.
	TLS TLS `toml:"tls"`
	// ShapesConfig says which devices appear by themselves.
	bridge.ShapesConfig
	// HomeAssistant says which devices of the gateway Home Assistant is shown.
	HomeAssistant bridge.HomeAssistantConfig `toml:"homeassistant"`
	// Pass lets messages through as they are.
	Pass []Pass `toml:"pass"`
	// Publish turns events into messages.
	Publish []bridge.PublishConfig `toml:"publish"`
	// RulesConfig holds the rules.
	bridge.RulesConfig
}

// TLS is the table [broker.NAME.tls].
type TLS = broker.TLS

// withDefaults returns c with the defaults in place of zero values.
func (c Config) withDefaults(gateway string) Config {
	if c.ClientID == "" {
		c.ClientID = "gantry_" + gateway
	}
	if c.KeepAlive == 0 {
		c.KeepAlive = 8 * time.Second
	}
	if c.MaxPacket == 0 {
		c.MaxPacket = 256 << 10
		if slices.Contains(c.Shapes, bridge.ShapeZigbee2MQTT) {
			c.MaxPacket = 4 << 20 // all devices are described in one message
		}
	}
	if c.Status == "" && len(c.HomeAssistant.Devices) > 0 {
		c.Status = DefaultStatus(gateway)
	}
	if c.InFlight == 0 {
		c.InFlight = 20
	}
	if c.Probe == 0 {
		c.Probe = time.Minute
	}
	if c.ProbeTopic == "" {
		c.ProbeTopic = "gantry/probe/" + c.ClientID
	}
	return c
}

// DefaultStatus is Config.Status where Home Assistant needs one.
func DefaultStatus(gateway string) string { return "gantry/" + gateway + "/status" }

// Validate checks c, the files of TLS included, and returns everything that is
// wrong, joined, each as a *bridge.ConfigError.
func (c Config) Validate() error {
	c = c.withDefaults("gw")
	var errs []error
	check := func(ok bool, key, text, allowed string) {
		if !ok {
			errs = append(errs, &bridge.ConfigError{Key: key, Text: text, Allowed: allowed})
		}
	}
	broker.CheckURL(c.URL, c.TLS != TLS{}, check)
	check(len(c.ClientID) <= 256 && bridge.CheckTopic(c.ClientID) == nil, "client_id", fmt.Sprintf("%.80q is no client identifier", c.ClientID), "1 to 256 bytes of text without + and #")
	check(len(c.User) < bridge.MaxTopic, "user", fmt.Sprintf("is %d bytes long", len(c.User)), "up to 65534 bytes")
	check(c.User != "" || c.Password == nil, "password", "comes without a user name", "password only with user")
	check(c.KeepAlive >= time.Second && c.KeepAlive <= time.Hour && c.KeepAlive%time.Second == 0, "keep_alive", "is "+c.KeepAlive.String(), "whole seconds from 1s to 1h")
	check(c.MaxPacket >= 1024 && c.MaxPacket <= 16<<20, "max_packet", fmt.Sprintf("is %d", c.MaxPacket), "1024 to 16777216")
	check(c.Status == "" || bridge.CheckTopic(c.Status) == nil, "status", fmt.Sprintf("%.80q is no topic", c.Status), "a topic name without wildcards")
	check(c.InFlight >= 1 && c.InFlight <= 1000, "in_flight", fmt.Sprintf("is %d", c.InFlight), "1 to 1000")
	check(c.Probe >= time.Second && c.Probe <= 24*time.Hour, "probe", "is "+c.Probe.String(), "1s to 24h")
	check(bridge.CheckTopic(c.ProbeTopic) == nil, "probe_topic", fmt.Sprintf("%.80q is no topic", c.ProbeTopic), "a topic name without wildcards")
	errs = append(errs, c.TLS.Validate()...)
	for _, err := range []error{c.ShapesConfig.Validate(), c.HomeAssistant.Validate()} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	if _, err := passages(c.Pass, "pass"); err != nil {
		errs = append(errs, err)
	}
	if err := c.RulesConfig.Validate(); err != nil {
		errs = append(errs, err)
	} else if _, err := c.publishers("gw"); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
