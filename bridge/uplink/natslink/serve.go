package natslink

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"gantry/bridge"
	"gantry/bridge/uplink"
	"gantry/wamp"
)

const (
	// serviceVersion is that of what calls look like, not the program's.
	serviceVersion = "1.0.0"
	// maxCalls bounds the calls that are under way.
	maxCalls = 64
	// maxPendingCalls and maxPendingBytes bound those of a class that nats.go has read
	// and nobody has looked at.
	maxPendingCalls = 1024
	maxPendingBytes = 4 << 20

	// timeoutHeader of a request is how long the call may take, such as 5s.
	timeoutHeader = "Gantry-Timeout"
	// errorHeader of an answer is the URI of the error.
	errorHeader = "Gantry-Error"
	// ackReply begins the reply subject of what a stream hands out.
	ackReply = "$JS.ACK."
)

// calls counts the calls of all classes, over all connections.
type calls struct{ running, failed, ignored atomic.Int64 }

// service is the micro service of one connection.
type service struct {
	c      *conn
	micro  micro.Service
	places chan struct{} // one for each call under way

	mu      sync.Mutex // guards stopped, and that no task begins behind it
	stopped bool
	tasks   sync.WaitGroup
}

// serve offers the procedures; nil where there are none.
func (c *conn) serve() (*service, error) {
	cfg := &c.sink.cfg
	if len(cfg.Commands.Classes()) == 0 {
		return nil, nil
	}
	s := &service{c: c, places: make(chan struct{}, maxCalls)}
	var err error
	s.micro, err = micro.AddService(c.nc, micro.Config{
		Name: "gantry_" + cfg.Gateway, Version: serviceVersion, Description: "The procedures of a gateway",
		Metadata: map[string]string{"gateway": cfg.Gateway, "gantry": cfg.Version},
		// A session that the server has not found dead yet must not get half of the calls.
		QueueGroupDisabled: true,
		StatsHandler: func(*micro.Endpoint) any {
			n := &c.sink.calls
			return map[string]int64{"running": n.running.Load(), "failed": n.failed.Load(), "ignored": n.ignored.Load()}
		},
	})
	if err != nil {
		return nil, err
	}
	for _, class := range cfg.Commands.Classes() {
		err := s.micro.AddEndpoint(class, micro.HandlerFunc(s.take),
			micro.WithEndpointSubject(string(cfg.Commands.URI(class+".>"))),
			micro.WithEndpointPendingLimits(maxPendingCalls, maxPendingBytes))
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

// stop takes no more calls and waits for those under way, which end with the
// connection.
func (s *service) stop() {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.tasks.Wait()
}

// take begins a call. nats.go's goroutine must not wait for its end.
func (s *service) take(r micro.Request) {
	if !fresh(r) {
		s.c.sink.calls.ignored.Add(1)
		s.c.sink.rare.Warn("a message is no call: it asks for no answer, or comes out of a stream", "subject", r.Subject())
		return
	}
	select {
	case s.places <- struct{}{}:
	default:
		s.answer(r.Reply(), wamp.Payload{}, wamp.NewError(wamp.ErrURIBusy, "too many calls are under way", wamp.Dict{"limit": maxCalls}))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return
	}
	s.c.sink.calls.running.Add(1)
	s.tasks.Go(func() {
		p, err := s.call(r)
		s.answer(r.Reply(), p, err)
		s.c.sink.calls.running.Add(-1)
		<-s.places
	})
}

// fresh reports whether a message is a request that somebody makes now: it wants an
// answer, and is none that a stream hands out or publishes again.
func fresh(r micro.Request) bool {
	return r.Reply() != "" && !strings.HasPrefix(r.Reply(), ackReply) && r.Headers().Get("Nats-Stream") == ""
}

// call makes the call that a request is for.
func (s *service) call(r micro.Request) (wamp.Payload, error) {
	procedure, ok := uri(r.Subject())
	if !ok {
		return wamp.Payload{}, wamp.NewError(wamp.ErrURIInvalidURI, "the subject stands for no procedure", nil)
	}
	ctx := s.c.ctx
	var opts wamp.CallOptions
	if text := r.Headers().Get(timeoutHeader); text != "" {
		limit, err := time.ParseDuration(text)
		if err != nil || limit < time.Millisecond {
			return wamp.Payload{}, wamp.NewError(wamp.ErrURIInvalidArgument, timeoutHeader+` is a duration such as "5s", 1ms at least`, nil)
		}
		opts.Timeout = uint64(limit.Milliseconds())
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	p, err := s.c.sink.cfg.Commands.Call(ctx, procedure, opts, bridge.Arguments(bridge.PayloadFromMQTT(r.Data())), nil)
	switch {
	case err == nil:
	case s.c.ctx.Err() != nil:
		err = wamp.NewError(wamp.ErrURICanceled, "the connection has ended", nil)
	case ctx.Err() != nil:
		err = wamp.NewError(wamp.ErrURITimeout, "the call took longer than "+timeoutHeader, nil)
	}
	return p, err
}

// answer sends the result of a call, or why there is none.
func (s *service) answer(to string, p wamp.Payload, err error) {
	m := nats.NewMsg(to)
	if err == nil {
		m.Data, err = bridge.AppendMQTT(nil, p)
	}
	if err != nil {
		s.c.sink.calls.failed.Add(1)
		e := &wamp.Error{URI: wamp.ErrURIRuntimeError, Text: err.Error()}
		errors.As(err, &e)
		m.Data = uplink.ErrorJSON(err)
		m.Header.Set(errorHeader, string(e.URI))
		m.Header.Set(micro.ErrorHeader, headerText(e.Error()))
		m.Header.Set(micro.ErrorCodeHeader, code(e.URI))
	}
	if err := s.c.nc.PublishMsg(m); err != nil && s.c.ctx.Err() == nil {
		s.c.sink.rare.Warn("an answer could not be sent", "error", err)
	}
}

// headerText makes one line of a text.
func headerText(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, s)
}

// code returns the number that goes with an error, in the manner of HTTP: ADR-32 of
// NATS demands one.
func code(name wamp.URI) string {
	switch name {
	case wamp.ErrURIInvalidArgument, wamp.ErrURIInvalidURI, wamp.ErrURIOutOfRange:
		return "400"
	case wamp.ErrURINotAuthorized, wamp.ErrURIReadOnly, wamp.ErrURISafeLock:
		return "403"
	case wamp.ErrURINoSuchProcedure:
		return "404"
	case wamp.ErrURIBusy, wamp.ErrURIOffline, wamp.ErrURIUnavailable, wamp.ErrURILimit, wamp.ErrURIStorageFull:
		return "503"
	case wamp.ErrURITimeout, wamp.ErrURIDevTimeout:
		return "504"
	}
	return "500"
}
