package modbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"gantry/drivers"
)

// stream is what frames go over; *serialport.Conn is one.
type stream interface {
	// Read waits for at least one byte until ctx ends, then it returns ctx's error.
	Read(ctx context.Context, p []byte) (int, error)
	Write(ctx context.Context, p []byte) error
	// DropInput throws away what was received and not read.
	DropInput()
	Close() error
}

// link carries requests to units and their answers back. One request at a time.
type link interface {
	// exchange sends a request and returns the response PDU, which fits it and is
	// valid until the next call; it may be an exception. Errors: ErrTimeout after
	// the time given without an answer, errGarbled, ErrOffline once the stream is
	// gone, or ctx's own.
	exchange(ctx context.Context, unit byte, req []byte, timeout time.Duration) ([]byte, error)
	close()
}

// errGarbled says that something came that is no answer.
var errGarbled = errors.New("answer is garbled")

// garbledError carries what came in place of an answer.
type garbledError struct {
	why    string // checksum, too_long; over TCP unexpected
	sample []byte
	short  bool // it was less than the answer has
}

func (e *garbledError) Error() string { return fmt.Sprintf("%v: %s: % x", errGarbled, e.why, e.sample) }
func (e *garbledError) Unwrap() error { return errGarbled }

func garbled(why string, b []byte) *garbledError {
	return &garbledError{why: why, sample: append([]byte(nil), b[:min(len(b), 64)]...)}
}

// ended returns what the end of a request's context means: that of the caller's
// own, or that the unit did not answer.
func ended(caller context.Context, err error) error {
	if e := caller.Err(); e != nil {
		if errors.Is(e, context.DeadlineExceeded) {
			return drivers.ErrTimeout
		}
		return e
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return drivers.ErrTimeout
	}
	return err
}

// broken makes every error of a stream but that of a context a loss: a port that
// does not take bytes is of no use any more either.
func broken(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, drivers.ErrOffline) {
		return err
	}
	return fmt.Errorf("%w: %w", drivers.ErrOffline, err)
}

// broadcast is the unit that all on a serial line listen to, and none answers.
const broadcast = 0

// rtuLink speaks RTU frames over a stream.
type rtuLink struct {
	stream     stream
	log        *slog.Logger
	baud       int           // reckons how long frames take; 0 = no time at all (over TCP)
	gap        time.Duration // least silence before a request
	turnaround time.Duration // silence after a broadcast
	echo       bool          // what is sent comes back first

	free time.Time // when the next frame may begin
	out  []byte
	in   []byte
}

func (l *rtuLink) close() { _ = l.stream.Close() }

func (l *rtuLink) takes(n int) time.Duration {
	if l.baud == 0 {
		return 0
	}
	return charTime(n, l.baud)
}

func (l *rtuLink) exchange(ctx context.Context, unit byte, req []byte, timeout time.Duration) ([]byte, error) {
	if err := pause(ctx, time.Until(l.free)); err != nil {
		return nil, ended(ctx, err)
	}
	// What came uncalled is no answer to what is asked now.
	l.stream.DropInput()
	l.in = l.in[:0]
	l.out = appendRTU(l.out[:0], unit, req)
	if err := l.stream.Write(ctx, l.out); err != nil {
		return nil, ended(ctx, broken(err))
	}
	sent := time.Now().Add(l.takes(len(l.out)))
	l.free = sent.Add(l.gap)
	if unit == broadcast {
		l.free = sent.Add(max(l.gap, l.turnaround))
		return nil, nil
	}
	resp, err := l.await(ctx, unit, req, sent.Add(timeout))
	if now := time.Now(); now.After(sent) {
		l.free = now.Add(l.gap)
	}
	return resp, err
}

// patience is how long bytes of a frame may be apart: USB adapters hand them over
// in portions 16 ms apart, and a busy machine reads them late.
const patience = 50 * time.Millisecond

// await reads until the answer is there. The first byte has until the deadline;
// then each portion has patience.
func (l *rtuLink) await(ctx context.Context, unit byte, req []byte, deadline time.Time) ([]byte, error) {
	odd := false
	most := deadline.Add(l.takes(maxFrame) + 10*patience) // whatever chatters on
	for {
		wait, cancel := context.WithDeadline(ctx, deadline)
		if cap(l.in)-len(l.in) < maxFrame {
			l.in = append(make([]byte, 0, 4*maxFrame), l.in...)
		}
		n, err := l.stream.Read(wait, l.in[len(l.in):cap(l.in)])
		cancel()
		l.in = l.in[:len(l.in)+n]
		if err != nil {
			return nil, l.none(ctx, req, broken(err), odd)
		}
		if resp, o := answerIn(l.answerPart(req), unit, req); resp != nil {
			return resp, nil
		} else if o {
			odd = true
		}
		if len(l.in) > 3*maxFrame {
			return nil, garbled("too_long", l.in)
		}
		if late := time.Now().Add(patience); late.After(deadline) {
			deadline = late
		}
		if deadline.After(most) {
			deadline = most
		}
	}
}

// answerPart returns what was received without the echo of the request. An echo
// that was not announced is found all the same: no unit answers a read with the
// request itself.
func (l *rtuLink) answerPart(req []byte) []byte {
	n := len(l.out)
	if len(l.in) < n || string(l.in[:n]) != string(l.out) {
		if l.echo {
			return nil
		}
		return l.in
	}
	if !l.echo && !writes(req[0]) {
		l.echo = true
		l.log.Warn("the line echoes what is sent; set bus.echo = true, or writes are taken for confirmed")
	}
	if l.echo {
		return l.in[n:]
	}
	return l.in
}

// none says why there is no answer.
func (l *rtuLink) none(ctx context.Context, req []byte, err error, odd bool) error {
	if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil || len(l.in) == 0 {
		return ended(ctx, err)
	}
	switch {
	case l.echo && len(l.in) <= len(l.out):
		return drivers.ErrTimeout
	case odd:
		return fmt.Errorf("%w: what came answers something else", drivers.ErrTimeout)
	}
	g := garbled("checksum", l.in)
	g.short = len(l.in) < 1+answerLength(req)+2
	return g
}

// pause waits for d.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tcpLink speaks Modbus TCP over a stream.
type tcpLink struct {
	stream      stream
	transaction uint16
	in, out     []byte
	used        int // of in: the frame handed out last
}

func newTCPLink(s stream) *tcpLink {
	// Answers to an earlier connection's requests cannot come on this one, but a
	// gateway behind it may mix them up.
	return &tcpLink{stream: s, transaction: uint16(rand.Uint32())}
}

func (l *tcpLink) close() { _ = l.stream.Close() }

func (l *tcpLink) exchange(ctx context.Context, unit byte, req []byte, timeout time.Duration) ([]byte, error) {
	l.transaction++
	l.out = appendMBAP(l.out[:0], l.transaction, unit, req)
	if err := l.stream.Write(ctx, l.out); err != nil {
		return nil, ended(ctx, broken(err))
	}
	wait, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		l.in = append(l.in[:0], l.in[l.used:]...)
		l.used = 0
		id, _, pdu, n, ok := parseMBAP(l.in)
		switch {
		case !ok:
			return nil, fmt.Errorf("%w: the peer does not speak Modbus TCP: % x", drivers.ErrOffline, l.in[:min(len(l.in), 16)])
		case n > 0:
			l.used = n
			if id != l.transaction {
				continue // a late answer
			}
			if _, err := checkResponse(req, pdu); err != nil && !isException(err) {
				return nil, garbled("unexpected", pdu)
			}
			return pdu, nil
		}
		if cap(l.in)-len(l.in) < 64 {
			l.in = append(make([]byte, 0, 4*maxFrame), l.in...)
		}
		n, err := l.stream.Read(wait, l.in[len(l.in):cap(l.in)])
		l.in = l.in[:len(l.in)+n]
		if err != nil {
			return nil, ended(ctx, broken(err))
		}
	}
}
