package interop_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"sync"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

func echo(_ context.Context, inv *wamp.Invocation, _ func(wamp.Payload) error) (wamp.Payload, error) {
	return inv.Payload, nil
}

func callsToPeer(w *world) {
	id := w.peer.Send(do{"op": "register", "procedure": "com.calls.echo", "kind": "echo"})
	w.peer.Reply(id)
	w.same("result", w.call("com.calls.echo", values, namedValues), values, namedValues)
	w.same("empty result", w.call("com.calls.echo", nil, nil), list{}, doc{})

	w.peer.OK(do{"op": "register", "procedure": "com.calls.fail", "kind": "fail"})
	_, err := w.gantry.Call(w.context(), "com.calls.fail", wamp.CallOptions{}, wamp.Values(list{"why", 1}, doc{"k": "v"}))
	var refusal *wamp.Error
	if !errors.As(err, &refusal) || refusal.URI != "com.example.error" {
		w.Fatalf("failing call: %v", err)
	}
	w.same("error", refusal.Payload, list{"why", 1}, doc{"k": "v"})

	w.peer.OK(do{"op": "unregister", "target": id})
	if _, err := w.gantry.Call(w.context(), "com.calls.echo", wamp.CallOptions{}, wamp.Payload{}); !wamp.IsError(err, wamp.ErrURINoSuchProcedure) {
		w.Errorf("call after unregister: %v", err)
	}
}

func callsOfPeer(w *world) {
	w.register("org.calls.echo", wamp.RegisterOptions{}, echo)
	got := w.peer.OK(do{"op": "call", "procedure": "org.calls.echo", "args": values, "kwargs": namedValues})
	w.heard("result", got, values, namedValues)
	got = w.peer.OK(do{"op": "call", "procedure": "org.calls.echo", "args": list{}, "kwargs": doc{}})
	w.heard("empty result", got, list{}, doc{})

	w.register("org.calls.refuse", wamp.RegisterOptions{}, func(context.Context, *wamp.Invocation, func(wamp.Payload) error) (wamp.Payload, error) {
		return wamp.Payload{}, wamp.NewError(wamp.ErrURIOutOfRange, "too hot", wamp.Dict{"max": 30})
	})
	refused := w.peer.Do(do{"op": "call", "procedure": "org.calls.refuse", "args": list{}, "kwargs": doc{}})
	w.heard("error", refused, list{"too hot"}, doc{"max": 30})
	if refused["error"] != string(wamp.ErrURIOutOfRange) {
		w.Errorf("refused call: %v", refused)
	}
	for op, want := range map[*do]wamp.URI{
		{"op": "call", "procedure": "org.calls.none", "args": list{}, "kwargs": doc{}}: wamp.ErrURINoSuchProcedure,
		{"op": "register", "procedure": "org.calls.echo", "kind": "echo"}:              wamp.ErrURIProcedureAlreadyExists,
	} {
		if m := w.peer.Do(*op); !strings.Contains(text(m), string(want)) {
			w.Errorf("%v: %v", *op, m)
		}
	}
}

// text is what a peer tells of an error; some libraries have the URI in a text.
func text(m map[string]any) string { s, _ := m["error"].(string); return s }

func patterns(w *world) {
	w.peer.OK(do{"op": "register", "procedure": "com.patterns.rooms", "match": "prefix", "kind": "where"})
	w.peer.OK(do{"op": "register", "procedure": "com.patterns..set", "match": "wildcard", "kind": "where"})
	for _, procedure := range []string{"com.patterns.rooms.one", "com.patterns.rooms.two", "com.patterns.lamp.set"} {
		w.same(procedure, w.call(wamp.URI(procedure), nil, nil), list{procedure}, nil)
	}
}

func progress(w *world) {
	w.peer.OK(do{"op": "register", "procedure": "com.progress.peer", "kind": "slow"})
	var steps []int
	p, err := w.gantry.CallProgress(w.context(), "com.progress.peer", wamp.CallOptions{}, wamp.Args(5), func(p wamp.Payload) {
		var i int
		if err := serialize.Arg(p, 0, &i); err != nil {
			w.Error(err)
		}
		steps = append(steps, i)
	})
	if err != nil {
		w.Fatal(err)
	}
	w.same("final result", p, list{5}, nil)
	if !reflect.DeepEqual(steps, []int{0, 1, 2, 3, 4}) {
		w.Errorf("progress of the peer: %v", steps)
	}
	w.same("result of one who does not want progress", w.call("com.progress.peer", list{5}, nil), list{5}, nil)

	w.register("com.progress.gantry", wamp.RegisterOptions{}, func(_ context.Context, inv *wamp.Invocation, progress func(wamp.Payload) error) (wamp.Payload, error) {
		for i := range 5 {
			if err := progress(wamp.Args(i)); err != nil {
				return wamp.Payload{}, err
			}
		}
		return wamp.Args("done"), nil
	})
	call := w.peer.Send(do{"op": "call", "procedure": "com.progress.gantry", "args": list{}, "kwargs": doc{}, "progress": true})
	for i := range 5 {
		if m := w.peer.EventFor(call); !reflect.DeepEqual(m["args"], list{float64(i)}) {
			w.Errorf("progress %d: %v", i, m)
		}
	}
	w.heard("final result", w.peer.Reply(call)["ok"], list{"done"}, doc{})
}

func parallel(w *world) {
	const n = 8
	w.peer.OK(do{"op": "register", "procedure": "com.parallel.peer", "kind": "meet"})
	ctx := w.context()
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			p, err := w.gantry.Call(ctx, "com.parallel.peer", wamp.CallOptions{}, wamp.Args(n))
			var met int
			if err != nil || serialize.Arg(p, 0, &met) != nil || met != n {
				w.Errorf("call: %d, %v", met, err)
			}
		})
	}
	wg.Wait()

	var here sync.WaitGroup
	here.Add(n)
	w.register("com.parallel.gantry", wamp.RegisterOptions{}, func(_ context.Context, inv *wamp.Invocation, _ func(wamp.Payload) error) (wamp.Payload, error) {
		here.Done()
		here.Wait()
		return inv.Payload, nil
	})
	var calls []float64
	for i := range n {
		calls = append(calls, w.peer.Send(do{"op": "call", "procedure": "com.parallel.gantry", "args": list{i}, "kwargs": doc{}}))
	}
	for i, call := range calls {
		w.heard("result", w.peer.Reply(call)["ok"], list{i}, doc{})
	}
}

// interrupted checks that the peer was told, where it can be, to stop a call that
// hangs; that its late answer harms nobody; and that it still serves.
func (w *world) interrupted(procedure string) {
	w.Helper()
	if w.is("autobahn-python") || w.is("nexus") {
		w.peer.Event("interrupted")
	}
	w.peer.OK(do{"op": "release"})
	w.peer.OK(do{"op": "register", "procedure": procedure + ".after", "kind": "echo"})
	w.same("result afterwards", w.call(wamp.URI(procedure+".after"), list{"x"}, nil), list{"x"}, nil)
}

func cancelToPeer(w *world) {
	w.peer.OK(do{"op": "register", "procedure": "com.cancel.peer", "kind": "hang"})
	ctx, cancel := context.WithCancel(w.context())
	ended := make(chan error, 1)
	go func() {
		// Progress is asked for, which not every callee can have cancelled.
		_, err := w.gantry.CallProgress(ctx, "com.cancel.peer", wamp.CallOptions{}, wamp.Payload{}, func(wamp.Payload) {})
		ended <- err
	}()
	w.peer.Event("invoked")
	cancel()
	if err := next(w, "end of the call", ended); !errors.Is(err, context.Canceled) {
		w.Errorf("cancelled call: %v", err)
	}
	w.interrupted("com.cancel.peer")
}

// hang registers a procedure that runs until it is cancelled, and returns where it
// tells of its beginning and end.
func (w *world) hang(procedure wamp.URI) (begun, ended <-chan struct{}) {
	w.Helper()
	b, e := make(chan struct{}, 1), make(chan struct{}, 1)
	w.register(procedure, wamp.RegisterOptions{}, func(ctx context.Context, _ *wamp.Invocation, _ func(wamp.Payload) error) (wamp.Payload, error) {
		b <- struct{}{}
		<-ctx.Done()
		e <- struct{}{}
		return wamp.Payload{}, ctx.Err()
	})
	return b, e
}

func cancelOfPeer(w *world) {
	modes := []string{"skip", "killnowait", "kill"}
	if w.is("autobahn-js") { // it takes the answer to the others for a violation of the protocol
		modes = []string{"kill"}
	}
	for _, mode := range modes {
		procedure := "com.cancel.gantry." + mode
		begun, ended := w.hang(wamp.URI(procedure))
		call := w.peer.Send(do{"op": "call", "procedure": procedure, "args": list{}, "kwargs": doc{}})
		next(w, "call", begun)
		w.peer.OK(do{"op": "cancel", "target": call, "mode": mode})
		// Python and nexus end the call themselves, each with an error of its own.
		if m := w.peer.Reply(call); !strings.Contains(strings.ToLower(text(m)), "cancel") {
			w.Errorf("call cancelled by %s: %v", mode, m)
		}
		if mode != "skip" {
			next(w, "cancellation", ended)
		}
	}
	w.register("com.cancel.gantry.after", wamp.RegisterOptions{}, echo)
	got := w.peer.OK(do{"op": "call", "procedure": "com.cancel.gantry.after", "args": list{1}, "kwargs": doc{}})
	w.heard("result afterwards", got, list{1}, doc{})
}

func timeoutToPeer(w *world) {
	w.peer.OK(do{"op": "register", "procedure": "com.timeout.peer", "kind": "hang"})
	_, err := w.gantry.Call(w.context(), "com.timeout.peer", wamp.CallOptions{Timeout: 20}, wamp.Payload{})
	if !wamp.IsError(err, wamp.ErrURITimeout) {
		w.Errorf("call with timeout: %v", err)
	}
	w.peer.Event("invoked")
	w.interrupted("com.timeout.peer")
}

func timeoutOfPeer(w *world) {
	_, ended := w.hang("com.timeout.gantry")
	m := w.peer.Do(do{"op": "call", "procedure": "com.timeout.gantry", "args": list{}, "kwargs": doc{}, "timeout": 20})
	if m["error"] != string(wamp.ErrURITimeout) {
		w.Errorf("call with timeout: %v", m)
	}
	next(w, "cancellation", ended)
}

func shared(w *world) {
	w.register("com.shared", wamp.RegisterOptions{Invoke: wamp.InvokeRoundRobin}, func(context.Context, *wamp.Invocation, func(wamp.Payload) error) (wamp.Payload, error) {
		return wamp.Args("gantry"), nil
	})
	w.peer.OK(do{"op": "register", "procedure": "com.shared", "invoke": "roundrobin", "kind": "echo"})
	for range 2 {
		w.same("result of the first", w.call("com.shared", list{"peer"}, nil), list{"gantry"}, nil)
		w.same("result of the second", w.call("com.shared", list{"peer"}, nil), list{"peer"}, nil)
	}
}
