package transport_test

import (
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"gantry/internal/budget"
	"gantry/wamp"
	"gantry/wamp/transport"
	"gantry/wamp/wamptest"
)

// narrow is a server whose clients' queues are short.
var narrow = transport.Options{Queue: 64 << 10, PingInterval: -1, Linger: 100 * time.Millisecond}

func crowded(p wamp.Peer) bool { return p.(wamp.Throttled).Crowded() != nil }

// fill offers m until the peer's queue does not take it any more, up to a limit of
// bytes that is far more than the network holds.
func fill(t *testing.T, p wamp.Peer, m wamp.Message, each int, stop func() bool) (n int) {
	t.Helper()
	for ; n*each < 64<<20 && !stop(); n++ {
		if err := p.TrySend(m); errors.Is(err, wamp.ErrQueueFull) {
			return n
		} else if err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func never() bool { return false }

// stuff is fill until the network, which nobody reads, is full as well.
func stuff(t *testing.T, p wamp.Peer, m wamp.Message, each int) (n int) {
	t.Helper()
	for quiet := 0; quiet < 1000; quiet++ {
		runtime.Gosched() // to who writes
		if more := fill(t, p, m, each, never); more > 0 {
			n, quiet = n+more, 0
		}
	}
	return n
}

func TestAnswersThatAreNotReadMakeACrowd(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, l wamptest.Link) {
		s := serve(t, "unix", transport.ServerConfig{Options: narrow}, nil)
		p, router := s.script(t, l)
		text := wamp.Args(strings.Repeat("x", 1000))
		result := &wamp.Result{Request: 1, Payload: text}
		unread := 0
		// Events and invocations fill the queue and are no crowd.
		for _, m := range []wamp.Message{
			&wamp.Event{Subscription: 1, Publication: 1, Payload: text}, &wamp.Invocation{Request: 1, Registration: 1, Payload: text},
		} {
			unread += stuff(t, router, m, 1000)
			if crowded(router) {
				t.Errorf("many of %s make a crowd", m.Type())
			}
		}
		n := fill(t, router, result, 1000, func() bool { return crowded(router) })
		if n < 10 || n > 64 {
			t.Errorf("%d answers of 1 KB are a crowd in a queue of 64 KiB", n)
		}
		// Those of the calls in progress still have room.
		for range 1000 {
			if err := router.TrySend(result); err != nil {
				t.Fatal(err)
			}
		}
		unread += n + 1000
		if err := router.TrySend(&wamp.Result{Request: 1, Details: wamp.ResultDetails{Progress: true}, Payload: text}); !errors.Is(err, wamp.ErrQueueFull) {
			t.Errorf("a progressive result has as much room: %v", err)
		}
		if err := router.TrySend(&wamp.Invocation{Request: 1, Registration: 1, Payload: text}); !errors.Is(err, wamp.ErrQueueFull) {
			t.Errorf("an invocation has as much room: %v", err)
		}
		fewer := router.(wamp.Throttled).Crowded()
		for ; unread > 0; unread-- {
			if f := p.RecvFrame(); len(f.Payload) < 900 {
				t.Fatalf("%d frames before the last, one has %d bytes", unread, len(f.Payload))
			}
			select {
			case <-fewer:
				if crowded(router) {
					t.Error("a crowd of few")
				}
				return
			default:
			}
		}
		<-fewer // the reader has outrun the account of what is written
	})
}

// A crowd behind which events are queued is over when its last answer has been read.
func TestACrowdIsOverThoughEventsFollow(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, l wamptest.Link) {
		s := serve(t, "unix", transport.ServerConfig{Options: narrow}, nil)
		p, router := s.script(t, l)
		text := wamp.Args(strings.Repeat("x", 1000))
		event := &wamp.Event{Subscription: 1, Publication: 1, Payload: text}
		unread := 0
		var fewer <-chan struct{}
		for fewer == nil { // the writer may still have room in the network
			unread += fill(t, router, event, 1000, never)
			unread += fill(t, router, &wamp.Result{Request: 1, Payload: text}, 1000, func() bool { return crowded(router) })
			fewer = router.(wamp.Throttled).Crowded()
		}
		for read := 0; unread > 0; read++ {
			p.RecvFrame()
			unread += fill(t, router, event, 1000, never) - 1
			select {
			case <-fewer:
				return
			default:
			}
			if read > 10_000 {
				t.Fatal("the answers have been read, and it is a crowd")
			}
		}
		<-fewer // the reader has outrun the account of what is written
	})
}

func TestACrowdIsOverWithTheConnection(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, l wamptest.Link) {
		s := serve(t, "unix", transport.ServerConfig{Options: narrow}, nil)
		p, router := s.script(t, l)
		result := &wamp.Result{Request: 1, Payload: wamp.Args(strings.Repeat("x", 1000))}
		var fewer <-chan struct{}
		for fewer == nil { // the writer may still have room in the network
			fill(t, router, result, 1000, func() bool { return crowded(router) })
			fewer = router.(wamp.Throttled).Crowded()
		}
		p.Close()
		if _, err := router.Recv(); err == nil {
			t.Error("received something")
		}
		_ = router.Close()
		<-fewer
		if crowded(router) {
			t.Error("a crowd at a connection that is closed")
		}
	})
}

// Answers go over the limit of a queue while memory is plenty, no further.
func TestAnswersOverTheLimitAreBoundInAll(t *testing.T) {
	t.Parallel()
	memory := budget.New(4 << 20) // half of it for what waits
	s := serve(t, "unix", transport.ServerConfig{Options: narrow, Memory: memory}, nil)
	l := wamptest.Link{Transport: "rawsocket", Format: wamp.JSON}
	result := &wamp.Result{Request: 1, Payload: wamp.Args(strings.Repeat("x", 1000))}
	total := 0
	for range 4 {
		_, router := s.script(t, l)
		fill(t, router, result, 1000, never)
		total = max(total, s.Stats().Waiting)
		if err := router.TrySend(&wamp.Goodbye{Reason: wamp.CloseURIKilled}); err != nil {
			t.Errorf("the last word: %v", err)
		}
	}
	if total < 1<<19 || total > 1<<20+1<<18 {
		t.Errorf("%d bytes wait, of which a mebibyte may be over the limits", total)
	}
	_, router := s.script(t, l)
	for range 50 {
		if err := router.TrySend(result); err != nil {
			t.Fatalf("within the limit: %v", err)
		}
	}
}

func TestAPollerThatDoesNotReceiveMakesACrowd(t *testing.T) {
	t.Parallel()
	cfg := transport.ServerConfig{Options: narrow}
	s := pollServer(t, cfg, nil)
	p := newPoller(t, s).open("wamp.2.json")
	router := s.next(t)
	fill(t, router, &wamp.Published{Request: 1, Publication: 2}, 12, func() bool { return crowded(router) })
	fewer := router.(wamp.Throttled).Crowded()
	for n := 0; ; n++ {
		select {
		case <-fewer:
			return
		default:
			if n > 10_000 {
				t.Fatal("all is read, and it is a crowd")
			}
			p.receive()
		}
	}
}
