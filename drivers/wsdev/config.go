package wsdev

import (
	"fmt"
	"strings"
	"time"

	"gantry/drivers"
	"gantry/drivers/internal/talker"
	"gantry/drivers/internal/text"
	"gantry/drivers/internal/web"
	"gantry/wamp/websocket"
)

// Config is the driver's part of a device's table.
type Config struct {
	URL string `toml:"url"` // ws or wss: the device is dialled; absent: it dials in, and shows the token
	web.ClientConfig
	TokenQuery   string            `toml:"token_query"` // parameter of the URL that may hold the token of a device that dials in
	Subprotocol  string            `toml:"subprotocol"` // that both sides must agree on; default: none
	Hello        []string          `toml:"hello"`       // messages that are sent first, once connected
	MaxMessage   uint32            `toml:"max_message"` // bytes of a message; 64 to 1048576, default 65536
	PingInterval *drivers.Duration `toml:"ping_interval"`
	PingTimeout  *drivers.Duration `toml:"ping_timeout"`
	Idle         drivers.Duration  `toml:"idle"` // a device that sends no message for so long is lost; default: it may

	Parse   talker.ParseConfig             `toml:"parse"`
	Reply   talker.ReplyConfig             `toml:"reply"`
	Points  map[string]talker.PointConfig  `toml:"point"`
	Actions map[string]talker.ActionConfig `toml:"action"`
}

const (
	defaultMaxMessage = 65536
	minMaxMessage     = 64
	maxMaxMessage     = 1 << 20
	maxWait           = time.Hour
	// writeTimeout is how long a device may take nothing of what is sent to it.
	writeTimeout = time.Second
	// linger is how long it may take to answer the closing handshake.
	linger = 500 * time.Millisecond
)

func bad(key, allowed, format string, args ...any) error {
	return &drivers.ConfigError{Key: key, Text: fmt.Sprintf(format, args...), Allowed: allowed}
}

// socket returns how connections are kept.
func (c *Config) socket() (websocket.Config, error) {
	w := websocket.Config{MaxMessage: int(c.MaxMessage), WriteTimeout: writeTimeout, Linger: linger, Idle: c.Idle.Std(),
		PingInterval: websocket.DefaultPingInterval, PingTimeout: websocket.DefaultPingTimeout}
	if w.MaxMessage == 0 {
		w.MaxMessage = defaultMaxMessage
	}
	if w.MaxMessage < minMaxMessage || w.MaxMessage > maxMaxMessage {
		return w, bad("max_message", fmt.Sprintf("%d to %d bytes", minMaxMessage, maxMaxMessage), "%d is out of range", c.MaxMessage)
	}
	for _, t := range []struct {
		key   string
		value *drivers.Duration
		into  *time.Duration
	}{{"ping_interval", c.PingInterval, &w.PingInterval}, {"ping_timeout", c.PingTimeout, &w.PingTimeout}, {"idle", &c.Idle, &w.Idle}} {
		if t.value == nil {
			continue
		}
		*t.into = t.value.Std()
		if *t.into > maxWait {
			return w, bad(t.key, "0s to "+maxWait.String(), "%v is too long", *t.into)
		}
	}
	if w.PingInterval == 0 {
		w.PingInterval = -1 // off
	}
	return w, nil
}

// validate checks what says who is at either end.
func (c *Config) validate(dir string) error {
	if err := c.ClientConfig.Validate(dir); err != nil {
		return err
	}
	if c.URL != "" {
		if c.TokenQuery != "" {
			return bad("token_query", "the token of a device that dials in, without url", "does not go with url")
		}
		_, err := web.ParseURL("url", c.URL, "ws", "wss")
		return err
	}
	switch {
	case c.Token == nil:
		return bad("token", `"env:NAME" or "file:PATH"; or url = "ws://HOST/PATH" of a device that is dialled`, "is missing for a device that dials in")
	case c.User != "" || len(c.Header) > 0 || c.CA != "" || c.ServerName != "":
		return bad("url", `url = "ws://HOST/PATH"`, "is missing: user, header, ca and server_name are for a device that is dialled")
	}
	return nil
}

// talker returns what the messages hold.
func (c *Config) talker() (talker.Config, error) {
	for i, h := range c.Hello {
		if h == "" || len(h) > maxMaxMessage {
			return talker.Config{}, bad(fmt.Sprintf("hello.%d", i), "messages that are not empty", "is no message")
		}
	}
	if text.HasControl(c.Subprotocol) {
		return talker.Config{}, bad("subprotocol", "the name of a subprotocol", "has a control character")
	}
	model := "WebSocket device that dials in"
	if at, _, _ := strings.Cut(c.URL, "?"); at != "" { // the query may hold what is nobody's business
		model = "WebSocket device at " + at
	}
	return talker.Config{Parse: c.Parse, Points: c.Points, Actions: c.Actions, Reply: c.Reply, Quoted: c.Parse.JSON,
		Model: model, Suspicion: "device sends only garbage; check parse"}, nil
}
