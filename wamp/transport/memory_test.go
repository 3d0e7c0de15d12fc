package transport_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"gantry/internal/budget"
	"gantry/wamp"
	"gantry/wamp/transport"
	"gantry/wamp/wamptest"
)

// Two messages of 100 KB are begun and not finished, for which there is memory. A
// third large one waits until one of them has gone; small ones do not.
func TestLargeMessagesWaitForMemory(t *testing.T) {
	t.Parallel()
	for _, l := range []wamptest.Link{{Transport: "rawsocket", Format: wamp.JSON}, {Transport: "websocket", Format: wamp.JSON}} {
		t.Run(l.String(), func(t *testing.T) {
			t.Parallel()
			opts := hasty
			opts.MaxMessage = 1 << 17
			s := serve(t, "tcp", transport.ServerConfig{Options: opts, Memory: budget.New(530_000)}, echo)
			whole := `[16,1,{},"a.b",["` + strings.Repeat("x", 90_000) + `"]]`
			var holders []*wamptest.Peer
			for range 2 {
				p := wamptest.Dial(t, s.network, s.addr, l)
				b := p.Encode(wamptest.Frame{Kind: kindOf(l), Payload: []byte(whole)})
				p.SendBytes(b[:len(b)-1])
				holders = append(holders, p)
			}
			until(t, "both are begun", func() bool { return s.Stats().Arriving > 2*90_000 })
			third := wamptest.Dial(t, s.network, s.addr, l)
			got := make(chan struct{})
			third.SendPayload([]byte(whole))
			go func() {
				defer close(got)
				third.RecvFrame()
			}()
			small := wamptest.Dial(t, s.network, s.addr, l)
			for range 50 {
				small.Send(`[16, 1, {}, "a.b"]`)
				small.Expect(`[16, 1, {}, "a.b"]`)
			}
			select {
			case <-got:
				t.Error("a third large message was received")
			default:
			}
			holders[0].Close()
			select {
			case <-got:
			case <-time.After(wamptest.Deadline):
				t.Fatal("the third large message is not received though there is memory now")
			}
			holders[1].SendBytes([]byte{']'})
			holders[1].Close()
			for range 3 { // all memory has been given back
				p := wamptest.Dial(t, s.network, s.addr, l)
				p.SendPayload([]byte(whole))
				p.RecvFrame()
				p.Close()
			}
			until(t, "nothing is taken", func() bool { return s.Stats().Arriving == 0 })
		})
	}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for late := time.Now().Add(wamptest.Deadline); !ok(); {
		if time.Now().After(late) {
			t.Fatalf("not so: %s", what)
		}
	}
}

func kindOf(l wamptest.Link) byte {
	if l.Transport == "websocket" {
		return wamptest.Text
	}
	return wamptest.RawRegular
}

// A server that stops does not wait for those who wait for memory.
func TestWaitingForMemoryEndsWithTheServer(t *testing.T) {
	t.Parallel()
	opts := hasty
	opts.MaxMessage = 1 << 17
	l := wamptest.Link{Transport: "rawsocket", Format: wamp.JSON}
	s := serve(t, "tcp", transport.ServerConfig{Options: opts, Memory: budget.New(200_000)}, echo)
	for range 4 {
		wamptest.Dial(t, s.network, s.addr, l).SendBytes([]byte("\x00\x01\x80\x00["))
	}
	until(t, "one is begun", func() bool { return s.Stats().Arriving > 0 })
	began := time.Now()
	s.stop()
	if took := time.Since(began); took > wamptest.Deadline/2 {
		t.Errorf("stopping took %v", took)
	}
}

// Those who do not read share what may wait to be sent, and those who read do not
// notice.
func TestQueuesShareTheirMemory(t *testing.T) {
	t.Parallel()
	opts := hasty
	opts.PingInterval = -1
	s := serve(t, "tcp", transport.ServerConfig{Options: opts, Memory: budget.New(1 << 20)}, nil)
	ev := &wamp.Event{Subscription: 1, Publication: 1, Payload: wamp.Args(strings.Repeat("x", 1000))}
	var deaf []wamp.Peer
	for range 8 {
		_, router := s.script(t, wamptest.Link{Transport: "rawsocket", Format: wamp.JSON})
		deaf = append(deaf, router)
	}
	full, most := 0, 0 // in a row; bytes
	until(t, "the network and all queues are full", func() bool {
		for _, router := range deaf {
			switch err := router.TrySend(ev); {
			case errors.Is(err, wamp.ErrQueueFull):
				full++
			case err != nil:
				t.Fatal(err)
			default:
				full = 0
			}
		}
		most = max(most, s.Stats().Waiting)
		return full > 20_000
	})
	reader, router := s.script(t, wamptest.Link{Transport: "rawsocket", Format: wamp.JSON})
	for range 100 {
		if err := router.TrySend(ev); err != nil {
			t.Fatalf("somebody who reads gets nothing: %v", err)
		}
		reader.RecvFrame()
	}
	if most == 0 || most > 1<<19 {
		t.Errorf("up to %d bytes were taken", most)
	}
	s.stop()
	if st := s.Stats(); st.Waiting != 0 {
		t.Errorf("after the end: %+v", st)
	}
}
