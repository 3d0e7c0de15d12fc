package main

import (
	"time"

	"github.com/spf13/cobra"

	"gantry/cmd/gateway/internal/forward"
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

func (a *app) forwardCommand() *cobra.Command {
	var hosts []string
	cfg := forward.Config{In: a.in, Out: a.out, Err: a.err}
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
	f.Uint32Var(&cfg.Connections, "max-connections", 64, "connections at a time; 1 to 65536")
	f.DurationVar(&cfg.Timeout, "timeout", 10*time.Second, "for opening TARGET, and for handshakes")
	f.DurationVar(&cfg.Idle, "idle", 0, "close a connection over which nothing has passed for so long; 0 = never")
	f.DurationVar(&cfg.Linger, "linger", 5*time.Second, "the same once one direction has ended")
	f.StringVar(&cfg.Cert, "cert", "", "certificate of a listening end, PEM; a new one is taken up at once")
	f.StringVar(&cfg.Key, "key", "", "its key, PEM")
	f.StringVar(&cfg.ClientCA, "client-ca", "", "clients of a listening end need a certificate of one of these authorities, PEM")
	f.StringVar(&cfg.CA, "ca", "", "authorities for a dialling end in place of the system's, PEM")
	f.StringVar(&cfg.ServerName, "server-name", "", "name in the certificate of the other side in place of the host dialled")
	f.BoolVar(&cfg.Insecure, "insecure", false, "dial whoever is there: encrypted, but anybody may be in between")
	f.StringArrayVar(&cfg.Subprotocols, "subprotocol", nil, "WebSocket subprotocol; repeatable")
	f.StringArrayVar(&cfg.Headers, "header", nil, "'Name: value' to send when dialling a WebSocket; repeatable")
	f.StringVar(&cfg.Proxy, "proxy", "", `HTTP proxy for dialling a WebSocket: http[s]://[USER:PASSWORD@]HOST:PORT, or "env" for HTTP_PROXY, HTTPS_PROXY, NO_PROXY`)
	f.StringArrayVar(&cfg.Origins, "origin", nil, "web origin whose pages may connect, e.g. https://example.org, or *; repeatable")
	f.StringArrayVar(&hosts, "host", nil, "further name under which browsers may reach this machine; repeatable")
	f.StringVar(&cfg.Web, "web", "", "directory to serve beside a listening WebSocket")
	f.BoolVar(&cfg.Text, "text", false, "send text messages: the bytes must be UTF-8")
	f.BoolVar(&cfg.Compress, "compress", false, "compress WebSocket messages if the other side does")
	f.BoolVar(&cfg.Trace, "trace", false, "write the frames of WebSockets to standard error")
	cmd.RunE = func(cmd *cobra.Command, words []string) error {
		cfg.CheckHost = checkHost(hosts)
		fw, err := forward.New(cfg, words[0], words[1], a.logger("info"))
		if err != nil {
			return usageError{err}
		}
		return fw.Run(cmd.Context())
	}
	return cmd
}
