package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"gantry/drivers"
	"gantry/drivers/internal/dialog"
	"gantry/internal/ratelog"
)

// Times of the protocol. Source: docs/node-protocol.md, "State machine".
const (
	restartGap = 100 * time.Millisecond // before a node that has restarted is asked
	helloEvery = 500 * time.Millisecond // between two questions who is there
	greetTime  = 10 * time.Second       // then there is no node: longer than boot loaders take
	answerTime = 500 * time.Millisecond // then a command is sent again
	pingAfter  = 2 * time.Second        // of silence
	deadAfter  = 7 * time.Second        // of silence the node is lost
	actionTime = 5 * time.Minute        // for an action whose caller sets no deadline
	writeTime  = 5 * time.Second        // the same for a point
)

// Why a session ends.
var (
	errSilent    = errors.New("no node has announced itself")
	errRestarted = errors.New("the node has restarted")
	errDead      = fmt.Errorf("the node says nothing any more: %w", drivers.ErrTimeout)
	errStopped   = errors.New("the search for devices has ended")
)

// conn is an open port; *serialport.Conn is one.
type conn interface {
	dialog.Conn
	Read(ctx context.Context, p []byte) (int, error)
}

// listener takes the frames of a port.
type listener struct {
	conn conn
	dec  decoder
	buf  [512]byte
	in   []byte // of buf, not looked at yet
}

// listen hands what arrives to take until ctx ends, the port is lost or take
// returns an error. Whenever nothing has come for the time given it calls quiet.
func (l *listener) listen(ctx context.Context, pause time.Duration, take func(body []byte, bad *damage) error, quiet func() error) error {
	for {
		for len(l.in) > 0 {
			var body []byte
			var bad *damage
			l.in, body, bad = l.dec.next(l.in)
			if body == nil && bad == nil {
				continue
			}
			if err := take(body, bad); err != nil {
				return err
			}
		}
		wait, cancel := context.WithTimeout(ctx, pause)
		n, err := l.conn.Read(wait, l.buf[:])
		cancel()
		l.in = l.buf[:n]
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return ctx.Err()
		case !errors.Is(err, context.DeadlineExceeded):
			return err
		default:
			if err := quiet(); err != nil {
				return err
			}
		}
	}
}

// greet asks who is at the port until a node has announced itself completely.
func greet(ctx context.Context, l *listener) (*roll, drivers.Description, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, greetTime, errSilent)
	defer cancel()
	var r *roll
	var desc drivers.Description
	var wrong error
	request := byte(0)
	var asked time.Time
	ask := func() error {
		request, asked = nextRequest(request), time.Now()
		return l.conn.Write(ctx, appendFrame(nil, []byte{byte(hello), request, version}))
	}
	done := errors.New("announced")
	take := func(body []byte, bad *damage) (err error) {
		// One that never pauses is asked all the same.
		if time.Since(asked) >= helloEvery {
			if err := ask(); err != nil {
				return err
			}
		}
		if bad != nil {
			return nil
		}
		switch kind(body[0]) {
		case announce:
			r, wrong = r.begin(body)
			return nil
		case point, action, argument:
			if r == nil || body[1] != r.request {
				return nil
			}
			if err := r.take(body); err != nil {
				wrong = err
				return nil
			}
		default:
			return nil
		}
		d, whole, err := r.description()
		if err != nil {
			wrong = err
			return nil
		}
		if !whole {
			return nil
		}
		desc = d
		return done
	}
	if err := ask(); err != nil {
		return nil, desc, err
	}
	switch err := l.listen(ctx, helloEvery, take, ask); {
	case err == done:
		return r, desc, nil
	case context.Cause(ctx) == errSilent && wrong != nil:
		return nil, desc, wrong
	case ctx.Err() != nil:
		return nil, desc, context.Cause(ctx)
	default:
		return nil, desc, err
	}
}

// nextRequest returns the request after r; 0 is none.
func nextRequest(r byte) byte {
	if r == 255 {
		return 1
	}
	return r + 1
}

// answer is what a node says to a command.
type answer struct {
	value drivers.Value
	err   error
}

// session is a node at a port, from its announcement to its end.
type session struct {
	identity
	desc drivers.Description
	path string // of the port
	talk *dialog.Session[answer]
	now  func() time.Time
	log  *ratelog.Log
	done chan struct{} // closed when it has ended; then err says why
	err  error

	// turn holds the number of the last request: who has taken it may send a command,
	// and again, until that is answered. One slot.
	turn chan byte

	mu   sync.Mutex // guards the rest
	link drivers.Link
	last []drivers.Reading // the last reading of each point; no Point: there is none
	news []bool            // which of them no driver has had
}

func newSession(c conn, path string, r *roll, desc drivers.Description, now func() time.Time, log *ratelog.Log) *session {
	s := &session{
		identity: r.identity, desc: desc, path: path, talk: dialog.NewTagged[answer](c), now: now, log: log,
		done: make(chan struct{}), turn: make(chan byte, 1),
		last: make([]drivers.Reading, len(desc.Points)), news: make([]bool, len(desc.Points)),
	}
	// A hello makes a node forget the requests before it.
	s.turn <- 0
	s.talk.Open()
	return s
}

// serve takes what the node says until ctx ends or the node is lost.
func (s *session) serve(ctx context.Context, l *listener) error {
	heard := s.now()
	return l.listen(ctx, pingAfter, func(body []byte, bad *damage) error {
		if bad != nil {
			s.garbage(bad.why, bad.sample)
			return nil
		}
		heard = s.now()
		return s.take(body)
	}, func() error {
		if s.now().Sub(heard) >= deadAfter {
			return errDead
		}
		return l.conn.Write(ctx, appendFrame(nil, []byte{byte(ping), 0}))
	})
}

// end makes commands, and whoever has joined, return.
func (s *session) end(err error) {
	s.err = err
	s.talk.End()
	close(s.done)
}

// take handles one message.
func (s *session) take(body []byte) error {
	switch k := kind(body[0]); k {
	case announce:
		// Of its own accord only after a start.
		if body[1] == 0 {
			return errRestarted
		}
	case reading, batch:
		s.readings(k, body)
	case result, refusal:
		// An answer that nobody waits for came twice, or too late.
		s.talk.Take(body)
	case logLine:
		c := cursor{b: body[headBytes:]}
		level, text := c.byte(), c.text("line", maxText)
		if err := c.end(); err != nil {
			s.garbage("log", body)
			return nil
		}
		s.log.Info("node says", "node", s.serial, "level", level, "text", text)
	case point, action, argument:
	default:
		s.garbage("unknown message", body)
	}
	return nil
}

// readings handles the values of one point or several. A message with a fault is
// dropped whole.
func (s *session) readings(k kind, body []byte) {
	c := cursor{b: body[headBytes:]}
	var list []drivers.Reading
	var at []int
	now := s.now()
	for more := true; more; more = k == batch && len(c.b) > 0 {
		i, quality, v := int(c.byte()), drivers.Quality(c.byte()), c.value()
		if c.err != nil {
			break
		}
		r, why := s.reading(i, quality, v)
		if why != "" {
			s.garbage(why, body)
			return
		}
		r.Time = now
		list, at = append(list, r), append(at, i)
	}
	if c.end() != nil {
		s.garbage("reading", body)
		return
	}
	s.mu.Lock()
	link := s.link
	for j, r := range list {
		s.last[at[j]], s.news[at[j]] = r, link == nil
	}
	s.mu.Unlock()
	if link == nil {
		return
	}
	for _, r := range list {
		link.Emit(r)
	}
}

// reading checks a value against what the node has announced; why says what is wrong.
func (s *session) reading(i int, quality drivers.Quality, v drivers.Value) (r drivers.Reading, why string) {
	if i >= len(s.desc.Points) {
		return r, "unknown point"
	}
	p := &s.desc.Points[i]
	switch {
	case !p.Readable:
		return r, "point is not readable"
	case quality > drivers.Bad:
		return r, "unknown quality"
	case v == nil:
		return drivers.Reading{Point: p.ID, Quality: drivers.Bad, Why: "sensor"}, ""
	case !fits(p.Type, v):
		return r, "another type than announced"
	case quality == drivers.Bad:
		return drivers.Reading{Point: p.ID, Quality: quality, Why: "sensor"}, ""
	case quality == drivers.Uncertain:
		return drivers.Reading{Point: p.ID, Value: v, Quality: quality, Why: "sensor"}, ""
	}
	return drivers.Reading{Point: p.ID, Value: v}, ""
}

func fits(t drivers.Type, v drivers.Value) bool {
	switch v.(type) {
	case float64:
		return t == drivers.Float
	case int64:
		return t == drivers.Int
	case bool:
		return t == drivers.Bool
	case string:
		return t == drivers.Text
	}
	return t == drivers.Bytes
}

func (s *session) garbage(why string, sample []byte) {
	s.mu.Lock()
	link := s.link
	s.mu.Unlock()
	if link != nil {
		link.Garbage(why, sample)
	}
}

// join makes link hear what the node says, beginning with the last values of all
// points.
func (s *session) join(link drivers.Link) {
	s.mu.Lock()
	for i, r := range s.last {
		s.news[i] = r.Point != ""
	}
	s.mu.Unlock()
	link.Up()
	for {
		s.mu.Lock()
		var list []drivers.Reading
		for i, is := range s.news {
			if is {
				list = append(list, s.last[i])
			}
		}
		clear(s.news)
		if len(list) == 0 {
			s.link = link
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		for _, r := range list {
			link.Emit(r)
		}
	}
}

// leave undoes join.
func (s *session) leave(link drivers.Link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link == link {
		s.link = nil
	}
}

// command sends a command and waits for its answer. What is not answered is sent
// again under the same number, by which the node knows that it has obeyed already.
func (s *session) command(ctx context.Context, k kind, payload []byte) (drivers.Value, error) {
	var last byte
	select {
	case last = <-s.turn:
	case <-s.done:
		return nil, drivers.ErrOffline
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil, ctx.Err()
		}
		return nil, drivers.ErrBusy
	}
	request := nextRequest(last)
	defer func() { s.turn <- request }()
	body := slices.Concat([]byte{byte(k), request}, payload)
	if len(body) > s.maxIn {
		return nil, fmt.Errorf("the command has %d bytes, the node takes %d: %w", len(body), s.maxIn, drivers.ErrRefused)
	}
	frame := appendFrame(nil, body)
	match := func(b []byte) (answer, bool) {
		if b[1] != request {
			return answer{}, false
		}
		return decodeAnswer(b), true
	}
	for {
		a, err := s.talk.Exchange(ctx, frame, answerTime, match)
		if err == nil {
			return a.value, a.err
		}
		if !errors.Is(err, drivers.ErrTimeout) || ctx.Err() != nil {
			return nil, err
		}
	}
}

// decodeAnswer reads a result or a refusal.
func decodeAnswer(body []byte) (a answer) {
	c := cursor{b: body[headBytes:]}
	if kind(body[0]) == result {
		a.value = c.value()
		a.err = c.end()
		return a
	}
	code, text := c.byte(), c.text("reason", maxAbout)
	if a.err = c.end(); a.err != nil {
		return a
	}
	kind := drivers.ErrRefused
	if code == codeBusy {
		kind = drivers.ErrBusy
	}
	a.err = fmt.Errorf("the node says: %s (%d): %w", text, code, kind)
	return a
}

// codeBusy is the code of a refusal that may pass.
const codeBusy = 5
