package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"gantry/internal/ratelog"
)

const forwardHelp = `Forwards streams of bytes: for each connection that comes in at LISTEN, it opens one
to TARGET and carries bytes both ways until both ends are through.

ENDPOINTS
  tcp:[HOST:]PORT        TCP
  tls:[HOST:]PORT        TLS over TCP
  unix:FILE              Unix socket
  ws://[HOST:]PORT/PATH  WebSocket; bytes are messages, whose bounds have no meaning
  wss://...              WebSocket over TLS
  ws+unix://FILE:/PATH   WebSocket over a Unix socket; wss+unix as well
  serial:FILE[,baud=N][,mode=8N1][,dtr=on|off][,rts=on|off]
                         serial port, by default 115200 8N1
  serial:usb=VVVV:PPPP[,serial=TEXT][,baud=...]
                         that of a USB adapter, whatever its file is called today
  stdio:                 standard input and output

  Each may stand on either side. Without a HOST, it is this machine alone
  (127.0.0.1); to listen on all networks write 0.0.0.0 or [::]. PORT 0 listens at a
  free one, which is printed. A serial port on the LISTEN side is opened and its
  target dialled right away, and again whenever either has ended; on the TARGET side
  it is for one connection at a time. With stdio: the command ends with the
  connection.

WEBSOCKET
  A listening end agrees on the first subprotocol that the client offers out of
  those of --subprotocol, by default binary and base64, which is what websockify and
  noVNC speak; a client that offers none is served as well. base64 carries Base64 in
  text messages, all others binary messages, or text ones with --text. Browsers may
  connect from pages of the same host only unless --origin allows more, and only
  under a name of this machine or its address unless --host allows more. --web serves
  the files of a directory beside.

  A dialling end offers the subprotocols of --subprotocol, and insists on one of
  them.

ENDS
  The end of one direction is passed on while the other goes on: by a half-closed
  connection of TCP, TLS and Unix sockets, by a close frame between two WebSocket
  ends of gantry. When nothing has passed for --linger after that, the connection is
  closed. A serial port has no end but its loss.

LIMITS
  32 KiB are read ahead in each direction, and a sender that is faster than its
  receiver has to wait. Connections beyond --max-connections are closed at once, or
  refused with status 503.

Exit codes: 0 stopped as wished or stdio: ended, 1 an endpoint failed, 2 wrong usage.`

// forwardConfig is the command line of gantry forward.
type forwardConfig struct {
	connections            uint32
	timeout, idle, linger  time.Duration
	cert, key, clientCA    string // of a listening end
	ca, serverName         string // of a dialling end
	insecure               bool
	subprotocols, headers  []string
	origins, hosts         []string
	text, compress, traces bool
	web, proxy             string
}

func (a *app) forwardCommand() *cobra.Command {
	var cfg forwardConfig
	cmd := &cobra.Command{
		Use:   "forward LISTEN TARGET",
		Short: "Forward TCP, TLS, Unix sockets, WebSockets, serial ports and standard input to each other",
		Long:  forwardHelp,
		Example: `  gantry forward ws://0.0.0.0:6080/ tcp:5900                a VNC server for browsers
  gantry forward ws://8081/port serial:/dev/ttyUSB0,baud=9600 --web page
                                                            a serial port for a web page
  gantry forward tcp:2222 wss://edge.example.org/ssh        SSH through a web server ...
  gantry forward wss://0.0.0.0:443/ssh tcp:22 --cert c.pem --key k.pem
                                                            ... and the end over there
  gantry forward stdio: ws://127.0.0.1:8081/port            talk to it by hand
  gantry forward tls:0.0.0.0:8883 unix:/run/app.sock --cert c.pem --key k.pem --client-ca ca.pem`,
		Args: cobra.ExactArgs(2),
	}
	f := cmd.Flags()
	f.Uint32Var(&cfg.connections, "max-connections", 64, "connections at a time; 1 to 65536")
	f.DurationVar(&cfg.timeout, "timeout", 10*time.Second, "for opening TARGET, and for handshakes")
	f.DurationVar(&cfg.idle, "idle", 0, "close a connection over which nothing has passed for so long; 0 = never")
	f.DurationVar(&cfg.linger, "linger", 5*time.Second, "the same once one direction has ended")
	f.StringVar(&cfg.cert, "cert", "", "certificate of a listening end, PEM; a new one is taken up at once")
	f.StringVar(&cfg.key, "key", "", "its key, PEM")
	f.StringVar(&cfg.clientCA, "client-ca", "", "clients of a listening end need a certificate of one of these authorities, PEM")
	f.StringVar(&cfg.ca, "ca", "", "authorities for a dialling end in place of the system's, PEM")
	f.StringVar(&cfg.serverName, "server-name", "", "name in the certificate of the other side in place of the host dialled")
	f.BoolVar(&cfg.insecure, "insecure", false, "dial whoever is there: encrypted, but anybody may be in between")
	f.StringArrayVar(&cfg.subprotocols, "subprotocol", nil, "WebSocket subprotocol; repeatable")
	f.StringArrayVar(&cfg.headers, "header", nil, "'Name: value' to send when dialling a WebSocket; repeatable")
	f.StringVar(&cfg.proxy, "proxy", "", `HTTP proxy for dialling a WebSocket: http[s]://[USER:PASSWORD@]HOST:PORT, or "env" for HTTP_PROXY, HTTPS_PROXY, NO_PROXY`)
	f.StringArrayVar(&cfg.origins, "origin", nil, "web origin whose pages may connect, e.g. https://example.org, or *; repeatable")
	f.StringArrayVar(&cfg.hosts, "host", nil, "further name under which browsers may reach this machine; repeatable")
	f.StringVar(&cfg.web, "web", "", "directory to serve beside a listening WebSocket")
	f.BoolVar(&cfg.text, "text", false, "send text messages: the bytes must be UTF-8")
	f.BoolVar(&cfg.compress, "compress", false, "compress WebSocket messages if the other side does")
	f.BoolVar(&cfg.traces, "trace", false, "write the frames of WebSockets to standard error")
	cmd.RunE = func(cmd *cobra.Command, words []string) error {
		fw, err := a.newForwarder(cfg, words[0], words[1])
		if err != nil {
			return usageError{err}
		}
		return fw.run(cmd.Context())
	}
	return cmd
}

// forwarder carries bytes between two endpoints.
type forwarder struct {
	a      *app
	cfg    forwardConfig
	from   endpoint
	to     endpoint
	header http.Header
	log    *ratelog.Log
	conns  atomic.Int64
}

// newForwarder checks the command line. It opens nothing.
func (a *app) newForwarder(cfg forwardConfig, from, to string) (*forwarder, error) {
	fw := &forwarder{a: a, cfg: cfg, header: http.Header{}, log: ratelog.New(a.logger("info"), 0, nil)}
	var err error
	if fw.from, err = parseEndpoint(from); err != nil {
		return nil, fmt.Errorf("LISTEN %w", err)
	}
	if fw.to, err = parseEndpoint(to); err != nil {
		return nil, fmt.Errorf("TARGET %w", err)
	}
	switch {
	case cfg.connections < 1 || cfg.connections > 65536:
		return nil, fmt.Errorf("--max-connections %d, expected 1 to 65536", cfg.connections)
	case cfg.timeout <= 0 || cfg.idle < 0 || cfg.linger <= 0:
		return nil, errors.New("--timeout and --linger must be above 0, and --idle must not be negative")
	case fw.from.kind == "stdio" && fw.to.kind == "stdio":
		return nil, errors.New("LISTEN and TARGET cannot both be stdio")
	case fw.from.tls() && (cfg.cert == "" || cfg.key == ""):
		return nil, fmt.Errorf("LISTEN %s: expected --cert FILE and --key FILE", fw.from.text)
	case !fw.from.tls() && (cfg.cert != "" || cfg.key != "" || cfg.clientCA != ""):
		return nil, fmt.Errorf("LISTEN %s has no TLS: --cert, --key and --client-ca are for tls, wss and wss+unix", fw.from.text)
	case cfg.web != "" && fw.from.kind != "ws":
		return nil, errors.New("--web needs a WebSocket as LISTEN")
	}
	for _, h := range cfg.headers {
		name, value, ok := strings.Cut(h, ":")
		if name = strings.TrimSpace(name); !ok || name == "" || strings.ContainsAny(h, "\r\n") {
			return nil, fmt.Errorf("--header %q, expected 'Name: value'", h)
		}
		fw.header.Add(name, strings.TrimSpace(value))
	}
	return fw, nil
}

// run forwards until ctx ends.
func (fw *forwarder) run(ctx context.Context) error {
	target, err := fw.newDialer()
	if err != nil {
		return err
	}
	err = fw.serve(ctx, func(ctx context.Context, in stream, peer string) error {
		// Dialling ends with the command.
		opening, cancel := context.WithTimeout(ctx, fw.cfg.timeout)
		out, err := target(opening)
		cancel()
		if err != nil {
			_ = in.Close()
			if ctx.Err() == nil && fw.from.kind != "stdio" {
				fw.log.Warn("target cannot be opened", "target", fw.to.text, "from", peer, "error", err)
			}
			return err
		}
		return relay(ctx, in, out, fw.cfg.idle, fw.cfg.linger)
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// listening tells where to connect.
func (fw *forwarder) listening(at string) {
	fmt.Fprintf(fw.a.err, "forwarding %s to %s\n", at, fw.to.text)
}

// enter takes one of the places for connections; leave gives it back.
func (fw *forwarder) enter(peer string) bool {
	if fw.conns.Add(1) <= int64(fw.cfg.connections) {
		return true
	}
	fw.leave()
	fw.log.Warn("connection refused: too many", "from", peer, "limit", fw.cfg.connections)
	return false
}

func (fw *forwarder) leave() { fw.conns.Add(-1) }
