package websocket

import (
	"net"
	"net/url"
	"strconv"
	"strings"
)

// URL is where a WebSocket is served (RFC 6455, 3):
//
//	ws://HOST[:PORT][/PATH][?QUERY]    TCP, port 80
//	wss://HOST[:PORT][/PATH][?QUERY]   TLS, port 443
//	ws+unix://FILE[:/PATH][?QUERY]     Unix socket FILE, absolute or relative
//	wss+unix://FILE[:/PATH][?QUERY]    TLS over a Unix socket
type URL struct {
	TLS     bool
	Network string // "tcp" or "unix"
	Addr    string // HOST:PORT, or FILE
	Target  string // /PATH?QUERY, at least "/"
}

const urlForms = "expected ws://HOST[:PORT][/PATH], wss://HOST[:PORT][/PATH], ws+unix://FILE[:/PATH] or wss+unix://FILE[:/PATH]"

// ParseURL parses the URL of a WebSocket. The error is a *URLError.
func ParseURL(raw string) (URL, error) {
	scheme, rest, ok := strings.Cut(raw, "://")
	wrong := func(text string) (URL, error) { return URL{}, &URLError{redacted(raw), text} }
	if !ok {
		return wrong(urlForms)
	}
	scheme = strings.ToLower(scheme)
	u := URL{TLS: strings.HasPrefix(scheme, "wss")}
	switch scheme {
	case "ws+unix", "wss+unix":
		u.Network = "unix"
		file, target, _ := strings.Cut(rest, ":")
		if file == "" || strings.ContainsRune(file, 0) {
			return wrong("no name of a socket; " + urlForms)
		}
		u.Addr, rest = file, "localhost"+target
		if target != "" && target[0] != '/' {
			return wrong("the path after the socket's name must begin with /; " + urlForms)
		}
	case "ws", "wss":
		u.Network = "tcp"
	default:
		return wrong("scheme " + strconv.Quote(scheme) + "; " + urlForms)
	}
	p, err := url.Parse("http://" + rest)
	switch {
	case err != nil:
		return wrong("malformed; " + urlForms)
	case p.User != nil:
		return wrong("user and password in it: send an Authorization header instead")
	case strings.Contains(rest, "#"):
		return wrong("a fragment (#...) in it: write # as %23 (RFC 6455, 3)")
	case p.Hostname() == "":
		return wrong("no host; " + urlForms)
	}
	u.Target = p.RequestURI()
	if u.Network == "unix" {
		return u, nil
	}
	port := p.Port()
	if port == "" {
		port = map[bool]string{false: "80", true: "443"}[u.TLS]
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		return wrong("port " + strconv.FormatUint(n, 10) + ", expected 0 to 65535")
	}
	u.Addr = net.JoinHostPort(p.Hostname(), port)
	return u, nil
}

// String returns the URL, its port included.
func (u URL) String() string {
	scheme := "ws"
	if u.TLS {
		scheme = "wss"
	}
	if u.Network == "unix" {
		return scheme + "+unix://" + u.Addr + ":" + u.Target
	}
	return scheme + "://" + u.Addr + u.Target
}

// http returns the URL that the library is given.
func (u URL) http() string {
	scheme, host := "ws", u.Addr
	if u.TLS {
		scheme = "wss"
	}
	if u.Network == "unix" {
		host = "localhost"
	} else if h, port, _ := net.SplitHostPort(u.Addr); port == map[bool]string{false: "80", true: "443"}[u.TLS] {
		host = h // a Host header without the scheme's own port
		if strings.Contains(h, ":") {
			host = "[" + h + "]"
		}
	}
	return scheme + "://" + host + u.Target
}

// redacted returns the URL without password and query, which may hold secrets.
func redacted(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "with malformed URL"
	}
	u.RawQuery, u.Fragment = "", ""
	return u.Redacted()
}
