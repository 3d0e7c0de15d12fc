package transport

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

// errIdle is the reason why a session without requests has ended.
var errIdle = errors.New("the other side makes no more requests")

// errCrowded is the reason why a session that has not joined a realm had to go.
var errCrowded = errors.New("too many others have not joined either")

// pollPeer is the server's end of a long-poll connection. A send request hands
// its body to Recv and is answered when the last message of it has been decoded:
// who does not read holds up who sends. A receive request takes what waits.
type pollPeer struct {
	outgoing
	polls   *polls
	id      string
	decoder *serialize.Decoder
	limit   int // of the body of a send request
	info    wamp.PeerInfo

	// sends and receives have room for the token of the one request of their kind
	// that is served at a time. Nobody closes them.
	sends, receives chan struct{}
	in              chan delivery // unbuffered: from the send request to Recv; nobody closes it
	wake            chan struct{} // room for one token: the receive request looks again; nobody closes it

	recv   sync.Mutex // guards what follows
	got    delivery   // holds the last message
	rest   batch      // of got
	broken error

	// Guarded by queue.mu.
	newest              chan struct{} // closed when a later receive request arrives; owned by supersede
	told                chan struct{} // closed when the client has been told of the end; owned by tell
	isTold              bool
	heard               time.Time // when the last request arrived
	bodiesIn, bodiesOut uint64    // bytes
	alarm               *time.Timer

	closed chan struct{} // closed at the end of Close
}

var (
	_ wamp.Peer    = (*pollPeer)(nil)
	_ wamp.Metered = (*pollPeer)(nil)
)

// delivery is the body of a send request, or what was wrong with it.
type delivery struct {
	body   *buffer
	batch  batch
	err    error
	result chan error // room for one: nil when all messages are decoded
}

func newPollPeer(s *polls, conn net.Conn, f wamp.Format, k batching) *pollPeer {
	opts := &s.v.cfg.Options
	p := &pollPeer{
		polls:    s,
		decoder:  serialize.NewDecoder(f, opts.limits(opts.MaxMessage)),
		limit:    opts.MaxMessage,
		info:     peerInfo(conn, "longpoll", f, 1<<24),
		sends:    make(chan struct{}, 1),
		receives: make(chan struct{}, 1),
		in:       make(chan delivery),
		wake:     make(chan struct{}, 1),
		newest:   make(chan struct{}),
		told:     make(chan struct{}),
		closed:   make(chan struct{}),
		heard:    time.Now(),
	}
	if k != unbatched {
		p.limit = opts.largestFrame()
	}
	p.init(opts, f, k)
	p.memory = s.v.cfg.Memory
	p.notify = func(bool) { p.signal() }
	return p
}

// Traffic returns the bytes of the bodies received and sent. See wamp.Metered.
func (p *pollPeer) Traffic() (received, sent uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bodiesIn, p.bodiesOut
}

// Info describes the other end.
func (p *pollPeer) Info() wamp.PeerInfo { return p.info }

func (p *pollPeer) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// watch starts the clock that ends an idle session.
func (p *pollPeer) watch() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.alarm = time.AfterFunc(p.polls.v.cfg.LongPoll.Idle, p.expire)
	}
}

func (p *pollPeer) expire() {
	p.mu.Lock()
	left := p.polls.v.cfg.LongPoll.Idle - time.Since(p.heard)
	if left > 0 && p.err == nil {
		p.alarm.Reset(left)
	}
	p.mu.Unlock()
	if left <= 0 {
		p.polls.v.refuse(silent, p.info.Remote, nil)
		p.fail(errIdle)
	}
}

// fail ends the connection for the reason err.
func (p *pollPeer) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return
	}
	p.die(err)
	if p.alarm != nil {
		p.alarm.Stop()
	}
	p.polls.remove(p.id)
}

// arrived notes a sign of life.
func (p *pollPeer) arrived() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard = time.Now()
}

// Recv returns the next message. See wamp.Peer.
func (p *pollPeer) Recv() (wamp.Message, error) {
	p.recv.Lock()
	defer p.recv.Unlock()
	for {
		if b := p.rest.next(); b != nil {
			m, err := p.decoder.Decode(b)
			if err != nil {
				p.rest = batch{}
				p.polls.v.refuse(malformed, p.info.Remote, err)
			}
			if len(p.rest.rest) == 0 {
				p.got.result <- err
			}
			return m, err
		}
		if p.broken != nil {
			return nil, p.broken
		}
		if p.got.body != nil {
			p.got.body.release()
		}
		p.got = delivery{}
		select {
		case p.got = <-p.in:
			p.rest, p.broken = p.got.batch, p.got.err
			if p.broken != nil {
				p.got.result <- p.broken
			}
		case <-p.over:
			p.broken = p.reason()
		}
	}
}

// serveSend takes the messages of a send request.
func (p *pollPeer) serveSend(w http.ResponseWriter, r *http.Request) {
	p.arrived()
	select {
	case p.sends <- struct{}{}:
		defer func() { <-p.sends }()
	case <-r.Context().Done():
		p.busy(w)
		return
	case <-p.over:
		p.gone(w)
		return
	}
	if n := r.ContentLength; n < 0 || n > largeBuffer {
		size := p.memory.Arriving.Fit(p.limit)
		if p.memory.Arriving.Take(r.Context(), size) != nil {
			p.busy(w)
			return
		}
		defer p.memory.Arriving.Give(size)
	}
	d, err := p.readSend(w, r)
	if err != nil {
		http.Error(w, "the body did not arrive: "+err.Error(), http.StatusBadRequest)
		return
	}
	// From here on it is the receiver who may be slow, not the client.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	select {
	case p.in <- d:
	case <-r.Context().Done():
		p.busy(w)
		return
	case <-p.over:
		p.gone(w)
		return
	}
	p.answerSend(w, d.result)
}

func (p *pollPeer) answerSend(w http.ResponseWriter, result <-chan error) {
	select {
	case err := <-result:
		if err != nil {
			p.refuse(w, http.StatusBadRequest, err.Error())
			return
		}
		p.due(w)
		// AP says 202 and calls it "no content"; that is 204, which both
		// implementations in the field send and AutobahnJS insists on.
		w.WriteHeader(http.StatusNoContent)
	case <-p.over:
		p.gone(w)
	}
}

// due gives an answer that is about to be written its time, however long the
// request has waited.
func (p *pollPeer) due(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(p.polls.v.cfg.WriteTimeout))
}

func (p *pollPeer) refuse(w http.ResponseWriter, status int, text string) {
	p.due(w)
	http.Error(w, text, status)
}

func (p *pollPeer) gone(w http.ResponseWriter) {
	p.refuse(w, http.StatusGone, "the session has ended")
}

func (p *pollPeer) superseded(w http.ResponseWriter) {
	p.refuse(w, http.StatusConflict, "another receive request has taken over")
}

// busy answers a send request whose messages have not been taken.
func (p *pollPeer) busy(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "1")
	p.refuse(w, http.StatusServiceUnavailable, "the messages were not taken")
}

// readSend reads the body of a send request. The error is that of the network;
// what is wrong with the body is in the delivery.
func (p *pollPeer) readSend(w http.ResponseWriter, r *http.Request) (delivery, error) {
	d := delivery{result: make(chan error, 1)}
	limit := int64(p.polls.v.cfg.largest(p.limit, !p.joined.Load()))
	if r.ContentLength > limit {
		d.err = p.violation(tooLarge, "message is over the limit")
		return d, nil
	}
	body := getBuffer(smallBuffer)
	err := readAll(body, http.MaxBytesReader(w, r.Body, limit))
	p.mu.Lock()
	p.bodiesIn += uint64(len(body.b))
	p.mu.Unlock()
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &tooLong):
		d.err = p.violation(tooLarge, "message is over the limit")
	case err != nil:
		body.release()
		return d, err
	case len(body.b) == 0:
		d.err = p.violation(malformed, "send request holds no message")
	case p.batching == unbatched:
		d.body, d.batch = body, batch{unbatched, body.b}
		return d, nil
	default:
		b, err := newBatch(p.batching, body.b)
		if err == nil {
			d.body, d.batch = body, b
			p.follow(b.kind)
			return d, nil
		}
		d.err = p.violation(malformed, err.Error())
	}
	body.release()
	return d, nil
}

// violation counts and returns what is wrong with a request.
func (p *pollPeer) violation(why reason, text string) error {
	err := &wamp.ProtocolError{Text: "long-poll: " + text}
	p.polls.v.refuse(why, p.info.Remote, err)
	return err
}

// follow writes batches with the separator that the client uses.
func (p *pollPeer) follow(k batching) {
	if p.polls.v.cfg.Separator == 0 {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.outgoing.batching = k
	}
}

// readAll appends what r has to b, which grows with what arrives.
func readAll(b *buffer, r io.Reader) error {
	for {
		if len(b.b) == cap(b.b) {
			b.b = append(b.b, 0)[:len(b.b)]
		}
		n, err := r.Read(b.b[len(b.b):cap(b.b)])
		b.b = b.b[:len(b.b)+n]
		switch err {
		case nil:
		case io.EOF:
			return nil
		default:
			return err
		}
	}
}

// supersede ends the receive request in progress, if there is one, whose client
// has given it up most likely, and returns what ends the new one in turn.
func (p *pollPeer) supersede() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.newest)
	p.newest = make(chan struct{})
	return p.newest
}

// serveReceive answers a receive request with what waits, or waits for something.
func (p *pollPeer) serveReceive(w http.ResponseWriter, r *http.Request) {
	p.arrived()
	if !emptyBody(w, r) {
		return
	}
	newer := p.supersede()
	select {
	case p.receives <- struct{}{}:
		defer func() { <-p.receives }()
	case <-newer:
		p.superseded(w)
		return
	case <-r.Context().Done():
		return
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	wait := time.NewTimer(p.polls.v.cfg.LongPoll.Wait)
	defer wait.Stop()
	for {
		select {
		case <-newer:
			p.superseded(w)
			return
		default:
		}
		body, end := p.take()
		switch {
		case end:
			p.gone(w)
			p.tell()
			return
		case len(body) > 0:
			p.deliver(w, body)
			return
		}
		select {
		case <-p.wake:
		case <-p.over:
		case <-newer:
		case <-wait.C:
			p.due(w)
			w.WriteHeader(http.StatusNoContent)
			return
		case <-r.Context().Done():
			return // and what comes waits for another request
		}
	}
}

// take returns what a receive request carries, or that it is the end.
func (p *pollPeer) take() (body []byte, end bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return nil, true
	}
	body = p.next(nil)
	return body, len(body) == 0 && p.closing
}

// deliver writes the answer to a receive request. If it is not taken the messages
// in it are lost, and with them the connection.
func (p *pollPeer) deliver(w http.ResponseWriter, body []byte) {
	p.due(w)
	w.Header().Set("Content-Type", contentType(p.info.Format))
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, err := w.Write(body)
	if err == nil {
		err = http.NewResponseController(w).Flush()
	}
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			p.polls.v.refuse(stuck, p.info.Remote, nil)
		}
		p.fail(err)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bodiesOut += uint64(len(body))
	p.landed()
}

// tell notes that the client knows of the end.
func (p *pollPeer) tell() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.isTold {
		p.isTold = true
		close(p.told)
	}
}

// serveClose ends the session for its client.
func (p *pollPeer) serveClose(w http.ResponseWriter, r *http.Request) {
	p.arrived()
	if !emptyBody(w, r) {
		return
	}
	p.fail(io.EOF)
	w.WriteHeader(http.StatusNoContent)
}

// Close ends the session once the client has fetched what is queued and has been
// told of the end; a server that stops does not wait for the latter. See wamp.Peer.
func (p *pollPeer) Close() error {
	fetched := make(chan struct{})
	p.mu.Lock()
	first := !p.closing
	if first {
		p.closing = true
		p.idle = fetched
		p.settle()
	}
	p.mu.Unlock()
	if !first {
		<-p.closed
		return nil
	}
	defer close(p.closed)
	p.signal()
	p.linger(fetched)
	p.fail(wamp.ErrClosed)
	p.recv.Lock()
	defer p.recv.Unlock()
	// Not released: the last message may still be in use.
	p.got, p.rest, p.broken = delivery{}, batch{}, wamp.ErrClosed
	return nil
}

// linger waits until the client has been told of the end, for as long as it may
// take. fetched is closed when nothing is queued any more.
func (p *pollPeer) linger(fetched <-chan struct{}) {
	late := time.NewTimer(p.polls.v.cfg.Linger)
	defer late.Stop()
	select {
	case <-p.told:
	case <-p.over:
	case <-late.C:
	case <-p.polls.v.ctx.Done():
		select {
		case <-fetched:
		case <-p.over:
		case <-late.C:
		}
	}
}

// emptyBody reads to the end of a body that says nothing, so that the HTTP server
// notices when the client hangs up.
func emptyBody(w http.ResponseWriter, r *http.Request) bool {
	if _, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, maxEmptyBody)); err != nil {
		http.Error(w, "expected a request without a body", http.StatusBadRequest)
		return false
	}
	return true
}
