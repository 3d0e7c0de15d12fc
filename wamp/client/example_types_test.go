package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/transport"
)

// A session is used by any goroutine, and tells what the router has said of it.
func ExampleSession() {
	ctx, s := context.Background(), joined()
	fmt.Println(s.Welcome().Details["authrole"], s.Announces("dealer", "call_canceling"))

	publication, err := s.PublishAcknowledged(ctx, "com.example.log", wamp.PublishOptions{}, wamp.Args("started"))
	fmt.Println(publication != 0, err)

	_ = s.Leave(ctx)
	<-s.Done()
	fmt.Println(s.Err())
	// Output:
	// trusted true
	// true <nil>
	// <nil>
}

// A way to a router of one's own: one address after the other.
func ExampleDialer() {
	var dial client.Dialer = func(ctx context.Context) (wamp.Peer, error) {
		var errs []error
		for _, url := range []string{"rs://127.0.0.1:1", "rs+unix:///nowhere.sock"} {
			p, err := transport.Dial(ctx, url, transport.DialConfig{Timeout: time.Second})
			if err == nil {
				return p, nil
			}
			errs = append(errs, err)
		}
		return nil, errors.Join(errs...)
	}
	_, err := client.Connect(context.Background(), dial, client.SessionConfig{Realm: "realm1"})
	fmt.Println(err != nil)
	// Output: true
}

// strict is a Router that lets nobody in. Any value with Accept is one.
type strict struct{}

func (strict) Accept(_ context.Context, p wamp.Peer) {
	defer func() { _ = p.Close() }()
	if _, err := p.Recv(); err == nil {
		_ = p.TrySend(&wamp.Abort{Reason: wamp.ErrURINotAuthorized, Details: wamp.Dict{"message": "closed for today"}})
	}
}

func ExampleRouter() {
	_, err := client.Connect(context.Background(), client.Embedded(strict{}, transport.PipeConfig{}), client.SessionConfig{Realm: "realm1"})
	fmt.Println(err)
	// Output: join realm realm1: wamp.error.not_authorized: closed for today
}

// A procedure and a handler as values: what Attach looks for, and what Register and
// Subscribe take.
func ExampleProcedure() {
	ctx, s := context.Background(), joined()
	var add client.Procedure[[]int, int] = func(_ context.Context, numbers []int) (sum int, err error) {
		for _, n := range numbers {
			sum += n
		}
		return sum, nil
	}
	undo, err := client.Register(ctx, s, "com.example.add", add)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(client.Call[int](ctx, s, "com.example.add", []int{1, 2, 3}))
	fmt.Println(undo(ctx), s.Leave(ctx))
	// Output:
	// 6 <nil>
	// <nil> <nil>
}

func ExampleHandler() {
	ctx, s := context.Background(), joined()
	seen := make(chan string, 1)
	var open client.Handler[bool] = func(v bool, ev *wamp.Event) { seen <- fmt.Sprint(ev.Details.Topic, " ", v) }
	if _, err := client.Subscribe(ctx, s, "com.example.<room>.open", open); err != nil {
		log.Fatal(err)
	}
	if err := client.PublishWith(ctx, s, "com.example.hall.open", wamp.PublishOptions{IncludeMe: true}, true); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-seen)
	_ = s.Leave(ctx)
	// Output: com.example.hall.open true
}

// What a result should have been, for programs.
func ExampleMismatchError() {
	ctx, s := context.Background(), joined()
	_, err := client.Call[string](ctx, s, "wamp.session.count")
	var m *client.MismatchError
	fmt.Println(errors.As(err, &m), m.What, m.Expected)
	_ = s.Leave(ctx)
	// Output: true argument 0 string
}

// The parts of a URI, by hand.
func ExamplePart() {
	t, err := client.ParseTemplate("com.<site>.<floor:int>.<rest:string>")
	if err != nil {
		log.Fatal(err)
	}
	parts, _ := t.Parse("com.mill.3.door")
	for _, p := range parts {
		fmt.Println(p.Name, p.Text, p.IsInt)
	}
	// Output:
	// site mill false
	// floor 3 true
	// rest door false
}

// A procedure that somebody else still holds.
func ExampleInsist() {
	ctx, r := context.Background(), routerOf()
	other, err := client.Connect(ctx, client.Embedded(r, transport.PipeConfig{}), client.SessionConfig{Realm: "realm1"})
	if err != nil {
		log.Fatal(err)
	}
	work := func(context.Context, struct{}) (string, error) { return "done", nil }
	if _, err := client.Register(ctx, other, "com.example.work", work); err != nil {
		log.Fatal(err)
	}
	s, err := client.Connect(ctx, client.Embedded(r, transport.PipeConfig{}), client.SessionConfig{Realm: "realm1"})
	if err != nil {
		log.Fatal(err)
	}
	err = client.Insist(ctx, func(ctx context.Context) error {
		_, err := client.Register(ctx, s, "com.example.work", work)
		return err
	}, func(err error) {
		fmt.Println(wamp.IsError(err, wamp.ErrURIProcedureAlreadyExists))
		_ = other.Leave(ctx) // now it is free
	})
	fmt.Println(err, s.Leave(ctx))
	// Output:
	// true
	// <nil> <nil>
}

// A payload that the router passes through as it is, in a scheme of the two ends.
func ExamplePassThrough() {
	ctx, s := context.Background(), joined()
	sealed := &wamp.Passthru{Scheme: "x_mill", Serializer: "cbor"}
	_, err := client.Register(ctx, s, "com.example.sealed", func(ctx context.Context, p wamp.Payload) (wamp.Payload, error) {
		client.PassThrough(ctx, sealed)
		return p, nil
	})
	if err != nil {
		log.Fatal(err)
	}
	r, err := s.CallResult(ctx, "com.example.sealed", wamp.CallOptions{Passthru: sealed}, wamp.Args([]byte("secret")), nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(r.Details.Passthru.Scheme)
	_ = s.Leave(ctx)
	// Output: x_mill
}
