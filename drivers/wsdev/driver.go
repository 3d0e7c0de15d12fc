package wsdev

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"gantry/drivers"
	"gantry/drivers/internal/dialog"
	"gantry/drivers/internal/talker"
	"gantry/internal/ratelog"
	"gantry/wamp/websocket"
)

// Driver is one device.
type Driver struct {
	*talker.Device
	cfg    Config
	socket websocket.Config
	env    drivers.Env
	rare   *ratelog.Log
}

var (
	_ drivers.Driver = (*Driver)(nil)
	_ drivers.Writer = (*Driver)(nil)
	_ drivers.Doer   = (*Driver)(nil)
)

// New checks cfg and returns a driver that has not been started. Errors are
// *drivers.ConfigError.
func New(cfg Config, env drivers.Env) (*Driver, error) {
	if env.Log == nil {
		env.Log = slog.New(slog.DiscardHandler)
	}
	if env.Now == nil {
		env.Now = time.Now
	}
	if err := cfg.validate(env.Dir); err != nil {
		return nil, err
	}
	socket, err := cfg.socket()
	if err != nil {
		return nil, err
	}
	messages, err := cfg.talker()
	if err != nil {
		return nil, err
	}
	device, err := talker.New(messages, env)
	if err != nil {
		return nil, err
	}
	return &Driver{Device: device, cfg: cfg, socket: socket, env: env, rare: ratelog.New(env.Log, time.Minute, env.Now)}, nil
}

// Run implements drivers.Driver: it dials the device, or lets it in, and turns messages
// into readings until ctx ends or the device is gone.
func (d *Driver) Run(ctx context.Context, link drivers.Link) error {
	if ctx.Err() != nil {
		return nil
	}
	run := d.dial
	if d.cfg.URL == "" {
		run = d.await
	}
	err := run(ctx, link)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// dial connects to the device and serves the connection.
func (d *Driver) dial(ctx context.Context, link drivers.Link) error {
	header, err := d.cfg.Headers()
	if err != nil {
		return err
	}
	secure, err := d.cfg.TLS(d.env.Dir)
	if err != nil {
		return err
	}
	dialer := websocket.Dialer{Config: d.socket, Header: header, TLS: secure}
	if d.cfg.Subprotocol != "" {
		dialer.Subprotocols = []string{d.cfg.Subprotocol}
	}
	conn, err := dialer.Dial(ctx, d.cfg.URL)
	var refused *websocket.HandshakeError
	if errors.As(err, &refused) {
		return fmt.Errorf("%w: it does not agree: status %d, %.128q", drivers.ErrOffline, refused.Status, refused.Got)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", drivers.ErrOffline, err)
	}
	return d.serve(ctx, conn, link, link.Up)
}

// serve takes the messages of a connection, which it frees. up is called once the
// device can be told something.
func (d *Driver) serve(ctx context.Context, conn *websocket.Conn, link drivers.Link, up func()) error {
	defer func() { _ = conn.Abandon() }() // what follows may panic; otherwise it is closed by then
	in := d.Begin(wire{conn}, link)
	greet := func(context.Context) error {
		for _, m := range d.cfg.Hello {
			if err := conn.Write(websocket.Text, []byte(m)); err != nil {
				_ = conn.Abandon()
				return err
			}
		}
		return nil
	}
	listen := func(ctx context.Context) error {
		return conn.Run(ctx, websocket.Handler{Message: func(_ *websocket.Conn, _ websocket.Opcode, b []byte) error {
			in.Message(bytes.TrimRight(b, "\r\n"))
			return nil
		}})
	}
	err := in.Serve(ctx, dialog.Phases{Join: greet, Listen: listen, Up: up})
	if err == nil {
		return fmt.Errorf("%w: it has closed the connection", drivers.ErrOffline)
	}
	return fmt.Errorf("%w: %w", drivers.ErrOffline, err)
}

// wire is how commands go out.
type wire struct{ conn *websocket.Conn }

// Write implements dialog.Conn. What is being sent when ctx ends is sent or fails within
// writeTimeout.
func (w wire) Write(ctx context.Context, p []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := w.conn.Write(websocket.Text, p); err != nil {
		return fmt.Errorf("%w: %w", drivers.ErrOffline, err)
	}
	return nil
}

// DropOutput implements dialog.Conn: nothing waits to be sent.
func (w wire) DropOutput() {}
