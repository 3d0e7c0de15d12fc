// Package forward carries streams of bytes between endpoints of TCP, TLS, Unix
// sockets, WebSockets, serial ports and standard input and output: the engine of
// gantry forward, whose help describes them.
package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"gantry/internal/ratelog"
)

// Config is the command line of gantry forward.
type Config struct {
	// Connections is how many are served at a time: 1 to 65536.
	Connections uint32
	// Timeout bounds opening the target, and handshakes. A connection over which nothing
	// has passed for Idle is closed (0: never), or for Linger once one direction has ended.
	Timeout, Idle, Linger time.Duration
	// Cert, Key and ClientCA are PEM files of a listening end.
	Cert, Key, ClientCA string
	// CA is a PEM file of a dialling end, ServerName what is in the other side's
	// certificate in place of the host dialled. Insecure dials whoever is there.
	CA, ServerName string
	Insecure       bool
	// Subprotocols are those of WebSockets, Headers are sent when dialling one.
	Subprotocols, Headers []string
	// Origins are the web origins whose pages may connect, besides those of the same host.
	Origins []string
	// CheckHost tells whether browsers may reach this machine under a name; nil: any.
	CheckHost func(host string) bool
	// Text sends text messages, Compress compresses messages, Trace writes frames to Err.
	Text, Compress, Trace bool
	// Web is a directory served beside a listening WebSocket, Proxy the URL of an HTTP
	// proxy for dialling one, or "env".
	Web, Proxy string
	// In and Out are the ends of stdio; where to connect is told on Err.
	In       io.Reader
	Out, Err io.Writer
}

// Forwarder carries bytes between two endpoints.
type Forwarder struct {
	cfg    Config
	from   endpoint
	to     endpoint
	header http.Header
	proxy  func(*http.Request) (*url.URL, error)
	log    *ratelog.Log
	conns  atomic.Int64
}

// New checks cfg and the two endpoints. It opens nothing. The error names the flag or
// the endpoint, and what is allowed.
func New(cfg Config, from, to string, log *slog.Logger) (*Forwarder, error) {
	fw := &Forwarder{cfg: cfg, header: http.Header{}, log: ratelog.New(log, 0, nil)}
	var err error
	if fw.from, err = parseEndpoint(from); err != nil {
		return nil, fmt.Errorf("LISTEN %w", err)
	}
	if fw.to, err = parseEndpoint(to); err != nil {
		return nil, fmt.Errorf("TARGET %w", err)
	}
	switch {
	case cfg.Connections < 1 || cfg.Connections > 65536:
		return nil, fmt.Errorf("--max-connections %d, expected 1 to 65536", cfg.Connections)
	case cfg.Timeout <= 0 || cfg.Idle < 0 || cfg.Linger <= 0:
		return nil, errors.New("--timeout and --linger must be above 0, and --idle must not be negative")
	case fw.from.kind == "stdio" && fw.to.kind == "stdio":
		return nil, errors.New("LISTEN and TARGET cannot both be stdio")
	case fw.from.tls() && (cfg.Cert == "" || cfg.Key == ""):
		return nil, fmt.Errorf("LISTEN %s: expected --cert FILE and --key FILE", fw.from.text)
	case !fw.from.tls() && (cfg.Cert != "" || cfg.Key != "" || cfg.ClientCA != ""):
		return nil, fmt.Errorf("LISTEN %s has no TLS: --cert, --key and --client-ca are for tls, wss and wss+unix", fw.from.text)
	case cfg.Web != "" && fw.from.kind != "ws":
		return nil, errors.New("--web needs a WebSocket as LISTEN")
	}
	for _, h := range cfg.Headers {
		name, value, ok := strings.Cut(h, ":")
		if name = strings.TrimSpace(name); !ok || name == "" || strings.ContainsAny(h, "\r\n") {
			return nil, fmt.Errorf("--header %q, expected 'Name: value'", h)
		}
		fw.header.Add(name, strings.TrimSpace(value))
	}
	switch {
	case cfg.Proxy == "env":
		fw.proxy = http.ProxyFromEnvironment
	case cfg.Proxy != "":
		u, err := url.Parse(cfg.Proxy)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, errors.New(`--proxy: expected http[s]://[USER:PASSWORD@]HOST:PORT or "env"`)
		}
		fw.proxy = http.ProxyURL(u)
	}
	return fw, nil
}

// Run forwards until ctx ends, or until stdio has. The error is why an endpoint cannot be
// opened.
func (fw *Forwarder) Run(ctx context.Context) error {
	target, err := fw.newDialer()
	if err != nil {
		return err
	}
	err = fw.serve(ctx, func(ctx context.Context, in stream, peer string) error {
		// Dialling ends with the command.
		opening, cancel := context.WithTimeout(ctx, fw.cfg.Timeout)
		out, err := target(opening)
		cancel()
		if err != nil {
			_ = in.Close()
			if ctx.Err() == nil && fw.from.kind != "stdio" {
				fw.log.Warn("target cannot be opened", "target", fw.to.text, "from", peer, "error", err)
			}
			return err
		}
		return relay(ctx, in, out, fw.cfg.Idle, fw.cfg.Linger)
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// listening tells where to connect.
func (fw *Forwarder) listening(at string) {
	fmt.Fprintf(fw.cfg.Err, "forwarding %s to %s\n", at, fw.to.text)
}

// enter takes one of the places for connections; leave gives it back.
func (fw *Forwarder) enter(peer string) bool {
	if fw.conns.Add(1) <= int64(fw.cfg.Connections) {
		return true
	}
	fw.leave()
	fw.log.Warn("connection refused: too many", "from", peer, "limit", fw.cfg.Connections)
	return false
}

func (fw *Forwarder) leave() { fw.conns.Add(-1) }
