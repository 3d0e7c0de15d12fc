package serialport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"gantry/drivers"

	"go.bug.st/serial"
	"golang.org/x/sys/unix"
)

// Conn is an open port. One goroutine may read while others write.
type Conn struct {
	port *Port
	path string
	f    *os.File      // the bytes' way, non-blocking; holds the lock
	turn chan struct{} // holds one token: whose turn it is to write

	mu     sync.Mutex // guards ctl against use after it was closed
	ctl    serial.Port
	closed bool

	broken atomic.Pointer[Error] // why the connection ended; set once
}

// Path returns the device node.
func (c *Conn) Path() string { return c.path }

// Read waits for at least one byte and returns what is there. It returns ctx's
// error when ctx ends, and an *Error that matches drivers.ErrOffline when the
// port is unplugged; after that it always does. It must not be called
// concurrently.
func (c *Conn) Read(ctx context.Context, p []byte) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	deadline, _ := ctx.Deadline()
	if err := c.f.SetReadDeadline(deadline); err != nil {
		return 0, c.fail("read", err)
	}
	if err := c.broken.Load(); err != nil {
		return 0, err
	}
	release := c.interrupt(ctx, c.f.SetReadDeadline)
	n, err := c.f.Read(p)
	release()
	if n > 0 {
		return n, nil
	}
	if err := c.broken.Load(); err != nil {
		return 0, err
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return 0, context.DeadlineExceeded
	}
	return 0, c.fail("read", err)
}

// Write hands all of p to the port. It waits for its turn and for room, until ctx
// ends or DefaultWriteTimeout is over. When the port does not take all bytes, what
// is still queued is thrown away, lest half a command, or an old one, be sent
// later, and the connection is ended: the error matches drivers.ErrTimeout, and a
// pending Read returns it too. A write that ends before its first byte because ctx
// was cancelled does no harm and returns ctx's error.
func (c *Conn) Write(ctx context.Context, p []byte) error {
	ctx, cancel := context.WithTimeout(ctx, DefaultWriteTimeout)
	defer cancel()
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	deadline, _ := ctx.Deadline()
	if err := c.f.SetWriteDeadline(deadline); err != nil {
		return c.fail("write", err)
	}
	if err := c.broken.Load(); err != nil {
		return err
	}
	release := c.interrupt(ctx, c.f.SetWriteDeadline)
	n, err := c.f.Write(p)
	release()
	switch {
	case err == nil:
		return nil
	case c.broken.Load() != nil:
		return c.broken.Load()
	case !errors.Is(err, os.ErrDeadlineExceeded):
		return c.fail("write", err)
	case n == 0 && errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	}
	e := &Error{Op: "write", Port: c.path, Kind: drivers.ErrTimeout,
		Err: fmt.Errorf("%w: %d of %d", errBlocked, n, len(p)), Hint: "check the device, its cable and flow control"}
	c.end(e)
	c.DropOutput()
	return e
}

// interrupt wakes a blocked operation when ctx ends. The function returned ends
// that and must be called before the next operation.
func (c *Conn) interrupt(ctx context.Context, deadline func(time.Time) error) (release func()) {
	fired := make(chan struct{}) // closed by the function below when it is through
	stop := context.AfterFunc(ctx, func() {
		defer close(fired)
		// It fails only when the file is closed, which wakes as well.
		_ = deadline(time.Unix(1, 0))
	})
	return func() {
		if !stop() {
			<-fired
		}
	}
}

// DropInput throws away what was received and not yet read.
func (c *Conn) DropInput() { c.drop(serial.Port.ResetInputBuffer) }

// DropOutput throws away what was written and not yet sent, so that a command
// which nobody waits for any more is not obeyed later.
func (c *Conn) DropOutput() { c.drop(serial.Port.ResetOutputBuffer) }

func (c *Conn) drop(f func(serial.Port) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	if err := f(c.ctl); err != nil {
		c.port.log.Debug("port cannot drop its buffer", "port", c.path, "err", err)
	}
}

// fail ends the connection because of a read or write error.
func (c *Conn) fail(op string, err error) error {
	if errors.Is(err, os.ErrClosed) {
		return &Error{Op: op, Port: c.path, Kind: drivers.ErrOffline, Err: errClosed}
	}
	e := &Error{Op: op, Port: c.path, Kind: drivers.ErrOffline, Err: errGone, Hint: "unplugged?"}
	var pe *os.PathError
	if !errors.Is(err, io.EOF) && errors.As(err, &pe) {
		e.Err = fmt.Errorf("%w: %w", errGone, pe.Err)
	}
	return c.end(e)
}

// end makes every later operation, and the pending ones, return e; an earlier
// reason stays.
func (c *Conn) end(e *Error) *Error {
	if !c.broken.CompareAndSwap(nil, e) {
		return c.broken.Load()
	}
	// A file without deadlines is closed already.
	_ = c.f.SetDeadline(time.Unix(1, 0))
	return e
}

// Close gives the port back. Pending reads and writes return. It may be called
// more than once. It waits up to 2 s for the kernel; if that does not suffice,
// closing goes on by itself and the port stays busy until it is done.
func (c *Conn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	c.mu.Unlock()
	c.end(&Error{Op: "use", Port: c.path, Kind: drivers.ErrOffline, Err: errClosed})
	if !c.port.bounded(context.Background(), c.port.closeWait, c.release) {
		return &Error{Op: "close", Port: c.path, Kind: drivers.ErrTimeout, Err: errStuck}
	}
	return nil
}

// release closes the descriptors; it can take as long as the kernel likes. The
// lock goes last and by name: a child that is being started has copies of both
// descriptors until it runs its own program, and would keep the port locked.
func (c *Conn) release() {
	err := c.ctl.Close()
	if raw, e := c.f.SyscallConn(); e == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.Flock(int(fd), unix.LOCK_UN) })
	}
	if e := c.f.Close(); err == nil {
		err = e
	}
	if err != nil {
		c.port.log.Debug("close port", "port", c.path, "err", err)
	}
}
