package websocket_test

import (
	"errors"
	"strings"
	"testing"

	"gantry/wamp/websocket"
)

func TestParseURL(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		raw  string
		want websocket.URL
		text string // round trip
	}{
		{"ws://h", websocket.URL{Network: "tcp", Addr: "h:80", Target: "/"}, "ws://h:80/"},
		{"WSS://h/p?q=1", websocket.URL{TLS: true, Network: "tcp", Addr: "h:443", Target: "/p?q=1"}, "wss://h:443/p?q=1"},
		{"ws://[::1]:8080/p", websocket.URL{Network: "tcp", Addr: "[::1]:8080", Target: "/p"}, "ws://[::1]:8080/p"},
		{"ws+unix:///run/x.sock", websocket.URL{Network: "unix", Addr: "/run/x.sock", Target: "/"}, "ws+unix:///run/x.sock:/"},
		{"ws+unix:///run/x.sock:/p?q", websocket.URL{Network: "unix", Addr: "/run/x.sock", Target: "/p?q"}, "ws+unix:///run/x.sock:/p?q"},
		{"wss+unix://x.sock:/", websocket.URL{TLS: true, Network: "unix", Addr: "x.sock", Target: "/"}, "wss+unix://x.sock:/"},
	} {
		got, err := websocket.ParseURL(tt.raw)
		if err != nil || got != tt.want || got.String() != tt.text {
			t.Errorf("%s: %+v (%s), %v", tt.raw, got, got, err)
		}
	}
	for raw, want := range map[string]string{
		"":                           "expected ws://",
		"http://h":                   `scheme "http"; expected ws://`,
		"ws:/h":                      "expected ws://",
		"ws://":                      "no host",
		"ws://:80":                   "no host",
		"ws://h:x":                   "malformed",
		"ws://h:70000":               "expected 0 to 65535",
		"ws://u:secret@h":            "Authorization",
		"ws://h/#f":                  "fragment",
		"ws://h/%zz":                 "malformed",
		"ws+unix://":                 "no name of a socket",
		"ws+unix:///run/x.sock:path": "must begin with /",
	} {
		_, err := websocket.ParseURL(raw)
		var ue *websocket.URLError
		if !errors.As(err, &ue) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", raw, err)
		}
		if _, err := (&websocket.Dialer{}).Dial(t.Context(), raw); !errors.As(err, &ue) {
			t.Errorf("dial %q: %v", raw, err)
		}
	}
}

func FuzzParseURL(f *testing.F) {
	for _, s := range []string{"ws://h", "wss://h:1/p?q", "ws+unix:///x:/y", "ws://[::1]/", "ws://h/%20"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := websocket.ParseURL(raw)
		if err != nil {
			return
		}
		again, err := websocket.ParseURL(u.String())
		if err != nil || again != u {
			t.Errorf("%q is %+v, and that again %+v, %v", raw, u, again, err)
		}
	})
}
