package websocket

import (
	"context"
	"errors"
)

// Handler is the life cycle of a connection after its handshake. Each function may
// be nil. They are called one after another by the goroutine of Conn.Run.
type Handler struct {
	// Open is called first. Its error ends the connection; see Message.
	Open func(c *Conn) error
	// Message is called for each message. The bytes are valid until it returns. An
	// error ends the connection: a *CloseError with its code and reason, any other
	// with CloseInternalError and no reason.
	Message func(c *Conn, op Opcode, b []byte) error
	// Stream, if not nil, is called in place of Message as soon as a message begins
	// to arrive. What it does not read is skipped.
	Stream func(c *Conn, op Opcode, r *MessageReader) error
	// Ping and Pong are called for pings, which are answered after that, and pongs,
	// those of the keepalive included, as long as messages are being read.
	Ping, Pong func(c *Conn, payload []byte)
	// Close is called last.
	Close func(c *Conn, end End)
}

// End is how a connection ended.
type End struct {
	// Code and Reason are those of the other side's close frame; without one,
	// CloseAbnormal and what happened instead.
	Code   int
	Reason string
	// Clean says that both sides have sent a close frame.
	Clean bool
}

// Run hands what arrives to h until the connection ends, and frees it. When ctx
// ends, the connection is closed with code 1001. Run returns nil after an orderly
// end, which is a close frame with a code that is Normal, or the end of ctx;
// otherwise what a function of h has returned, or the error of Conn.Read.
func (c *Conn) Run(ctx context.Context, h Handler) error {
	c.hooks = h
	stop := context.AfterFunc(ctx, func() { _ = c.Close(CloseGoingAway, "") })
	err := c.handle(h)
	stopped := !stop()
	code, reason := CloseNormal, ""
	var ce *CloseError
	ours := c.readError() == nil // the error is one of h
	switch {
	case !ours:
	case errors.As(err, &ce):
		code, reason = ce.Code, ce.Reason
	default:
		code = CloseInternalError
	}
	_ = c.Close(code, reason)
	if h.Close != nil {
		h.Close(c, c.ended())
	}
	if stopped && !ours || errors.As(err, &ce) && ce.Normal() {
		return nil
	}
	return err
}

// handle reads until the connection or a function of h ends it.
func (c *Conn) handle(h Handler) error {
	if h.Open != nil {
		if err := h.Open(c); err != nil {
			return err
		}
	}
	for {
		var err error
		if h.Stream != nil {
			op, r, rerr := c.Reader()
			if rerr != nil {
				return rerr
			}
			err = h.Stream(c, op, r)
		} else {
			op, b, rerr := c.Read()
			if rerr != nil {
				return rerr
			}
			if h.Message != nil {
				err = h.Message(c, op, b)
			}
		}
		if err != nil {
			return err
		}
	}
}

// readError returns the error that ended reading.
func (c *Conn) readError() error {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	return c.readErr
}

// ended describes the end of a connection that is closed.
func (c *Conn) ended() End {
	if ce := c.peerClose.Load(); ce != nil {
		return End{Code: ce.Code, Reason: ce.Reason, Clean: c.Clean()}
	}
	end := End{Code: CloseAbnormal}
	if err := c.readError(); err != nil {
		end.Reason = err.Error()
	}
	return end
}
