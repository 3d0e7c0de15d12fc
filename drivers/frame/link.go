package frame

import (
	"context"
	"log/slog"

	"gantry/drivers/internal/dialog"
	"gantry/drivers/internal/tcp"
	"gantry/drivers/serialport"
)

// conn is the open way to a device.
type conn interface {
	serialport.Source
	dialog.Conn
	Close() error
}

var (
	_ conn = (*serialport.Conn)(nil)
	_ conn = (*tcp.Conn)(nil)
)

// link is where the device is: at a port, or at the far end of a TCP connection.
type link struct {
	port    *serialport.Port // nil for TCP
	address string
}

func newLink(cfg *Config, log *slog.Logger) (*link, error) {
	if cfg.TCP == "" {
		port, err := serialport.New(cfg.Port, cfg.Line, serialport.Roots{}, log)
		return &link{port: port}, err
	}
	switch {
	case cfg.Port != serialport.Config{}:
		return nil, bad("tcp", "one of port and tcp", "stands beside port")
	case cfg.Line != serialport.LineConfig{}:
		return nil, bad("line", "only with port", "does not apply to TCP")
	case !tcp.IsAddress(cfg.TCP):
		return nil, bad("tcp", `host:port, such as "192.0.2.7:4001"`, "%.80q is no address", cfg.TCP)
	}
	return &link{address: cfg.TCP}, nil
}

func (l *link) String() string {
	if l.port != nil {
		return l.port.String()
	}
	return l.address
}

func (l *link) open(ctx context.Context) (conn, error) {
	if l.port != nil {
		c, err := l.port.Open(ctx)
		if err != nil {
			return nil, err
		}
		return c, nil
	}
	c, err := tcp.Dial(ctx, l.address)
	if err != nil {
		return nil, err
	}
	return c, nil
}
