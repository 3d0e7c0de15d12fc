// Package tcp is a TCP connection to a device, for drivers that speak over a serial
// port or the network alike.
package tcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"gantry/drivers"
)

// dialTimeout bounds the opening of a connection.
const dialTimeout = 5 * time.Second

// writeTimeout is how long a peer may take nothing.
const writeTimeout = 5 * time.Second

// probes find a peer that is dead, of which nothing is asked, within 15 s.
var probes = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 5 * time.Second, Count: 2}

// IsAddress reports whether s is a host with the number of a port.
func IsAddress(s string) bool {
	host, port, err := net.SplitHostPort(s)
	_, e := strconv.ParseUint(port, 10, 16)
	return err == nil && e == nil && host != ""
}

// Conn is a connection. One goroutine may read while another writes.
type Conn struct{ conn net.Conn }

// Dial connects to host:port, within 5 s. The error is drivers.ErrOffline.
func Dial(ctx context.Context, address string) (*Conn, error) {
	dialer := net.Dialer{Timeout: dialTimeout, KeepAliveConfig: probes}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", drivers.ErrOffline, err)
	}
	return &Conn{conn}, nil
}

// Read waits for at least one byte and returns what is there. It returns ctx's error
// when ctx ends, and drivers.ErrOffline when the connection does.
func (c *Conn) Read(ctx context.Context, p []byte) (n int, err error) {
	err = within(ctx, c.conn.SetReadDeadline, func() (err error) { n, err = c.conn.Read(p); return err })
	return n, err
}

// Write hands all of p to the peer. Where that does not take it within
// 5 s, or ctx ends, the error is drivers.ErrOffline.
func (c *Conn) Write(ctx context.Context, p []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	err := within(wait, c.conn.SetWriteDeadline, func() error { _, err := c.conn.Write(p); return err })
	if err != nil && !errors.Is(err, drivers.ErrOffline) {
		// Half a request may be out.
		return fmt.Errorf("%w: the peer takes nothing", drivers.ErrOffline)
	}
	return err
}

// within runs an operation that ends with ctx.
func within(ctx context.Context, deadline func(time.Time) error, f func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	at, _ := ctx.Deadline()
	_ = deadline(at)             // it fails on a closed connection only, and so does what follows
	fired := make(chan struct{}) // closed by the function below when it is through
	stop := context.AfterFunc(ctx, func() {
		defer close(fired)
		_ = deadline(time.Unix(1, 0))
	})
	err := f()
	if !stop() {
		<-fired
	}
	var timeout net.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &timeout) && timeout.Timeout():
		if err := ctx.Err(); err != nil {
			return err
		}
		return context.DeadlineExceeded
	}
	return fmt.Errorf("%w: %w", drivers.ErrOffline, err)
}

// DropInput reads what is there already.
func (c *Conn) DropInput() {
	var b [512]byte
	for range 64 {
		_ = c.conn.SetReadDeadline(time.Now().Add(50 * time.Microsecond))
		if n, err := c.conn.Read(b[:]); n == 0 || err != nil {
			return
		}
	}
}

// DropOutput does nothing: what was written is on its way.
func (c *Conn) DropOutput() {}

// Close closes the connection.
func (c *Conn) Close() error { return c.conn.Close() }
