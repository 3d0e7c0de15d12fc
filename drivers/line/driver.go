package line

import (
	"bytes"
	"context"
	"errors"
	"log/slog"

	"gantry/drivers"
	"gantry/drivers/internal/dialog"
	"gantry/drivers/internal/talker"
	"gantry/drivers/serialport"
)

// Driver is one device on one port.
type Driver struct {
	*talker.Device
	cfg  Config
	port *serialport.Port
	log  *slog.Logger
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
	port, err := serialport.New(cfg.Port, cfg.Line, serialport.Roots{}, env.Log)
	if err != nil {
		return nil, err
	}
	if cfg.Settle.Std() > maxSettle {
		return nil, bad("settle", cfg.Settle.String()+" is too long", "0s to "+maxSettle.String())
	}
	if err := cfg.Frame.Validate(); err != nil {
		return nil, err
	}
	device, err := talker.New(talker.Config{
		Parse: cfg.Parse, Points: cfg.Points, Actions: cfg.Actions,
		Model: "line device at " + port.String(), Suspicion: "device sends only garbage; check baud, mode and parse",
	}, env)
	if err != nil {
		return nil, err
	}
	return &Driver{Device: device, cfg: cfg, port: port, log: env.Log}, nil
}

// Run implements drivers.Driver: it opens the port and turns lines into readings
// until ctx ends or the port is lost.
func (d *Driver) Run(ctx context.Context, link drivers.Link) error {
	err := d.serve(ctx, link)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (d *Driver) serve(ctx context.Context, link drivers.Link) error {
	conn, err := d.port.Open(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if err := conn.Close(); err != nil {
			d.log.Warn("port is slow to close", "port", conn.Path(), "err", err)
		}
	}()
	in := d.Begin(conn, link)
	r := serialport.NewLineReader(conn, d.cfg.Frame)
	listen := func(ctx context.Context) error { return d.listen(ctx, r, in) }
	return in.Serve(ctx, dialog.Phases{Join: r.Join, Listen: listen, Settle: d.cfg.Settle.Std(), Up: link.Up})
}

// whyParity is the reason of a line with a byte whose parity was wrong.
const whyParity = "parity"

// listen handles lines until ctx ends or the port is lost.
func (d *Driver) listen(ctx context.Context, r *serialport.LineReader, in *talker.Intake) error {
	for {
		line, err := r.Next(ctx)
		var fe *serialport.FrameError
		switch {
		case err == nil && d.cfg.Line.Parity() && bytes.IndexByte(line, 0) >= 0:
			// What is left of the line may look like another number.
			in.Garbage(whyParity, line)
		case err == nil:
			in.Message(line)
		case errors.As(err, &fe):
			in.Garbage(fe.Why, fe.Sample)
		default:
			return err
		}
	}
}
