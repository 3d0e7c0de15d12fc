package transport_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"

	"gantry/wamp"
	"gantry/wamp/transport"
)

func event(n int) *wamp.Event {
	return &wamp.Event{Subscription: 1, Publication: wamp.ID(n), Payload: wamp.Args(int64(n))}
}

func TestPipeCarriesMessagesBothWaysAndEndsInOrder(t *testing.T) {
	t.Parallel()
	c, r := transport.Pipe(transport.PipeConfig{})
	if err := c.TrySend(&wamp.Hello{Realm: "a"}); err != nil {
		t.Fatal(err)
	}
	if err := r.TrySend(event(1)); err != nil {
		t.Fatal(err)
	}
	if m, err := r.Recv(); err != nil || m.(*wamp.Hello).Realm != "a" {
		t.Fatalf("router received %v, %v", m, err)
	}
	if m, err := c.Recv(); err != nil || m.(*wamp.Event).Publication != 1 {
		t.Fatalf("client received %v, %v", m, err)
	}
	if err := c.TrySend(&wamp.Goodbye{Reason: wamp.CloseURICloseRealm}); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if m, err := r.Recv(); err != nil || m.Type() != wamp.TypeGoodbye {
		t.Fatalf("after the client's Close the router received %v, %v", m, err)
	}
	if _, err := r.Recv(); !errors.Is(err, io.EOF) {
		t.Fatalf("then %v, want io.EOF", err)
	}
	if err := r.TrySend(event(2)); !errors.Is(err, wamp.ErrClosed) {
		t.Fatalf("send to a closed end: %v", err)
	}
	if _, err := c.Recv(); !errors.Is(err, wamp.ErrClosed) {
		t.Fatalf("receive on a closed end: %v", err)
	}
	_ = r.Close()
	_ = r.Close()
}

func TestPipeCopiesWhatIsBorrowed(t *testing.T) {
	t.Parallel()
	c, r := transport.Pipe(transport.PipeConfig{})
	raw := []byte("[1]")
	pub := &wamp.Publish{Topic: "a.b", Payload: wamp.RawPayload(wamp.JSON, raw, nil)}
	if err := c.TrySend(pub); err != nil {
		t.Fatal(err)
	}
	raw[1] = '2'
	pub.Topic = "x"
	m, err := r.Recv()
	if err != nil {
		t.Fatal(err)
	}
	got := m.(*wamp.Publish)
	args, _ := got.Payload.Raw()
	if got.Topic != "a.b" || string(args) != "[1]" {
		t.Fatalf("received topic %q args %s", got.Topic, args)
	}
}

func TestPipeBoundsTheClientAndWaitsInSend(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, r := transport.Pipe(transport.PipeConfig{Requests: 2})
		pub := &wamp.Publish{Topic: "a"}
		for range 2 {
			if err := c.TrySend(pub); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.TrySend(pub); !errors.Is(err, wamp.ErrQueueFull) {
			t.Fatalf("third message: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- c.Send(ctx, pub) }()
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Fatalf("send whose context ended: %v", err)
		}
		go func() { done <- c.Send(t.Context(), pub) }()
		synctest.Wait()
		if _, err := r.Recv(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatalf("send with room: %v", err)
		}
		go func() { done <- c.Send(t.Context(), pub) }()
		synctest.Wait()
		_ = r.Close()
		if err := <-done; !errors.Is(err, wamp.ErrClosed) {
			t.Fatalf("send to an end that closed: %v", err)
		}
	})
}

func TestPipeLossyTellsTheRouterAndKeepsRoomForTheEnd(t *testing.T) {
	t.Parallel()
	_, r := transport.Pipe(transport.PipeConfig{Events: 1})
	if _, ok := r.(wamp.Congestible); ok {
		t.Fatal("a lossy pipe claims to be lossless")
	}
	if err := r.TrySend(event(1)); err != nil {
		t.Fatal(err)
	}
	if err := r.TrySend(event(2)); !errors.Is(err, wamp.ErrQueueFull) {
		t.Fatalf("event over the limit: %v", err)
	}
	if err := r.TrySend(&wamp.Abort{Reason: "a"}); err != nil {
		t.Fatalf("abort over the limit: %v", err)
	}
}

func TestPipeHasMoreRoomForAnswers(t *testing.T) {
	t.Parallel()
	_, r := transport.Pipe(transport.PipeConfig{Events: 4})
	for r.TrySend(event(1)) == nil {
	}
	answers := 0
	for ; answers < 100; answers++ {
		if err := r.TrySend(&wamp.Published{Request: 1, Publication: 2}); errors.Is(err, wamp.ErrQueueFull) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if answers < 20 || answers > 32 {
		t.Errorf("%d answers found room", answers)
	}
	for _, m := range []wamp.Message{&wamp.Result{Request: 1, Details: wamp.ResultDetails{Progress: true}}, &wamp.Invocation{Request: 1, Registration: 1}} {
		if err := r.TrySend(m); !errors.Is(err, wamp.ErrQueueFull) {
			t.Errorf("%s behind them: %v", m.Type(), err)
		}
	}
	if err := r.TrySend(&wamp.Abort{Reason: "a"}); err != nil {
		t.Errorf("the last word: %v", err)
	}
}

func TestPipeLosslessIsCongestedOverItsMark(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, r := transport.Pipe(transport.PipeConfig{Events: 2, Lossless: true})
		gate := r.(wamp.Congestible)
		for i := range 5 {
			if err := r.TrySend(event(i)); err != nil {
				t.Fatal(err)
			}
		}
		calm := gate.Congested()
		if calm == nil {
			t.Fatal("not congested over the mark")
		}
		for i := range 5 {
			select {
			case <-calm:
				if i < 4 {
					t.Fatalf("calm with %d messages waiting", 5-i)
				}
			default:
				if i >= 4 {
					t.Fatalf("congested with %d messages waiting", 5-i)
				}
			}
			m, err := c.Recv()
			if err != nil || m.(*wamp.Event).Publication != wamp.ID(i) {
				t.Fatalf("message %d is %v, %v", i, m, err)
			}
		}
		if gate.Congested() != nil {
			t.Fatal("congested while empty")
		}
		for i := range 2 {
			_ = r.TrySend(event(i))
		}
		calm = gate.Congested()
		_ = c.Close()
		<-calm
	})
}
