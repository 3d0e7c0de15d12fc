package forward

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"gantry/drivers/serialport"
	"gantry/wamp/websocket"
)

// endpoint is one side of gantry forward.
type endpoint struct {
	text string // as given
	kind string // tcp, tls, unix, ws, serial, stdio
	addr string // HOST:PORT, or the file of a Unix socket
	ws   websocket.URL
	port serialport.Config
	line serialport.LineConfig
}

const endpointForms = "expected tcp:[HOST:]PORT, tls:[HOST:]PORT, unix:FILE, ws://[HOST:]PORT/PATH, wss://[HOST:]PORT/PATH, ws+unix://FILE:/PATH, wss+unix://FILE:/PATH, stdio: or serial:FILE[,baud=N]"

// loopback is the host of an endpoint that names none.
const loopback = "127.0.0.1"

// tls reports whether an end that listens needs a certificate.
func (e endpoint) tls() bool { return e.kind == "tls" || e.kind == "ws" && e.ws.TLS }

// parseEndpoint parses an endpoint; the error names it and says what is allowed.
func parseEndpoint(text string) (endpoint, error) {
	e := endpoint{text: text}
	kind, rest, ok := strings.Cut(text, ":")
	if !ok {
		return e, fmt.Errorf("%q: %s", text, endpointForms)
	}
	e.kind = kind
	var err error
	switch kind {
	case "tcp", "tls":
		e.addr, err = hostPort(rest)
	case "unix":
		e.addr = rest
		if rest == "" {
			err = errors.New("expected unix:FILE")
		}
	case "ws", "wss", "ws+unix", "wss+unix":
		e.kind = "ws"
		if e.ws, err = websocket.ParseURL(withHost(text)); err != nil {
			return e, err // names the URL itself
		}
	case "serial":
		err = e.parseSerial(rest)
	case "stdio":
		if rest != "" {
			err = errors.New("expected stdio: and nothing behind")
		}
	default:
		err = errors.New(endpointForms)
	}
	if err != nil {
		return e, fmt.Errorf("%q: %w", text, err)
	}
	return e, nil
}

// hostPort completes [HOST:]PORT.
func hostPort(s string) (string, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port = "", s
	}
	if host == "" {
		host = loopback
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", fmt.Errorf("port %q, expected [HOST:]PORT with a port of 0 to 65535", port)
	} else if port != strconv.FormatUint(n, 10) {
		return "", fmt.Errorf("port %q, expected plain digits", port)
	}
	return net.JoinHostPort(host, port), nil
}

// withHost completes the URL of a WebSocket that names no host: ws://:80/ and
// ws://80/.
func withHost(text string) string {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || strings.HasSuffix(scheme, "unix") {
		return text
	}
	authority, path, slash := strings.Cut(rest, "/")
	port := strings.TrimPrefix(authority, ":")
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return text
	}
	if slash {
		path = "/" + path
	}
	return scheme + "://" + loopback + ":" + port + path
}

// parseSerial parses FILE or usb=..., and options behind commas.
func (e *endpoint) parseSerial(s string) error {
	const forms = "expected serial:FILE or serial:usb=VVVV:PPPP, then ,serial=TEXT ,baud=N ,mode=8N1 ,dtr=on|off ,rts=on|off"
	words := strings.Split(s, ",")
	if !strings.HasPrefix(words[0], "usb=") {
		e.port.Path, words = words[0], words[1:]
	}
	for _, w := range words {
		key, value, _ := strings.Cut(w, "=")
		var err error
		switch key {
		case "usb":
			e.port.USB = value
		case "serial":
			e.port.Serial = value
		case "baud":
			var n uint64
			n, err = strconv.ParseUint(value, 10, 32)
			e.line.Baud = uint32(n)
			if n == 0 {
				err = errors.New("no speed")
			}
		case "mode":
			e.line.Mode = value
		case "dtr":
			e.line.DTR, err = level(value)
		case "rts":
			e.line.RTS, err = level(value)
		default:
			err = errors.New("unknown option")
		}
		if err != nil {
			return fmt.Errorf("%q: %s", w, forms)
		}
	}
	if err := e.port.Validate(); err != nil {
		return fmt.Errorf("%w; %s", err, forms)
	}
	return e.line.Validate()
}

func level(s string) (*bool, error) {
	on := s == "on"
	if !on && s != "off" {
		return nil, errors.New("expected on or off")
	}
	return &on, nil
}
