// Package broker connects to MQTT brokers: their addresses, TLS, and a connection
// that paho cannot be harmed by.
package broker

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
)

// schemes are those of URL, with the port that each stands for.
var schemes = map[string]struct {
	port   string
	secure bool
}{
	"tcp": {port: "1883"}, "mqtt": {port: "1883"}, "ws": {},
	"ssl": {"8883", true}, "mqtts": {"8883", true}, "wss": {"", true},
	"unix": {},
}

// CheckURL tells check what is wrong with the address of a broker, under the key
// url, and with a table tls, which is there if secured, under tls.
func CheckURL(address string, secured bool, check func(ok bool, key, text, allowed string)) {
	const allowed = `such as "tcp://host:1883", "ssl://host:8883", "wss://host/mqtt" or "unix:///path"`
	if address == "" {
		check(false, "url", "is missing", allowed)
		return
	}
	u, err := url.Parse(address)
	if err != nil {
		check(false, "url", fmt.Sprintf("%.80q is no address of a broker", address), allowed)
		return
	}
	scheme, known := schemes[u.Scheme]
	switch {
	case !known:
		check(false, "url", fmt.Sprintf("%.80q is no address of a broker", address), allowed)
	case u.User != nil:
		check(false, "url", "has a user name in it", "credentials in user and password")
	case u.Scheme == "unix":
		check(u.Host == "" && filepath.IsAbs(u.Path), "url", fmt.Sprintf("%.80q has no absolute path", address), allowed)
	case u.Hostname() == "":
		check(false, "url", fmt.Sprintf("%.80q has no host", address), allowed)
	case scheme.port != "" && strings.Trim(u.Path, "/") != "":
		check(false, "url", fmt.Sprintf("%.80q has a path", address), "a path only with ws, wss and unix")
	}
	check(scheme.secure || !known || !secured, "tls", "is there for a connection without TLS", "tls only with ssl, mqtts and wss")
}

// address returns where to connect to.
func address(u *url.URL) (network, addr string) {
	if u.Scheme == "unix" {
		return "unix", u.Path
	}
	port := u.Port()
	if port == "" {
		port = schemes[u.Scheme].port
	}
	return "tcp", net.JoinHostPort(u.Hostname(), port)
}

// websocket reports whether MQTT runs over WebSocket.
func websocket(u *url.URL) bool { return slices.Contains([]string{"ws", "wss"}, u.Scheme) }
