package client_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log"
	"slices"

	"gantry/wamp"
	"gantry/wamp/auth"
	"gantry/wamp/client"
	"gantry/wamp/router"
	"gantry/wamp/transport"
)

// routerOf returns a router with one realm, realm1. Embedded components need no
// more of it than this.
func routerOf() *router.Router {
	r, err := router.New(router.Config{Realms: []router.RealmConfig{{Name: "realm1"}}}, nil)
	if err != nil {
		log.Fatal(err)
	}
	return r
}

// joined returns a session in realm1 of a router of its own.
func joined() *client.Session {
	s, err := client.Connect(context.Background(), client.Embedded(routerOf(), transport.PipeConfig{}), client.SessionConfig{Realm: "realm1"})
	if err != nil {
		log.Fatal(err)
	}
	return s
}

// A component, run inside the router's process.
func ExampleRun() {
	greeter := client.Component{
		OnJoin: func(ctx context.Context, s *client.Session) error {
			hello := func(_ context.Context, name string) (string, error) { return "Hello, " + name + "!", nil }
			if _, err := client.Register(ctx, s, "com.example.hello", hello); err != nil {
				return err
			}
			text, err := client.Call[string](ctx, s, "com.example.hello", "world")
			if err != nil {
				return err
			}
			fmt.Println(text)
			return s.Leave(ctx)
		},
	}
	err := client.Run(context.Background(), greeter, client.Config{
		Dial:    client.Embedded(routerOf(), transport.PipeConfig{}),
		Session: client.SessionConfig{Realm: "realm1"},
	})
	fmt.Println("ended:", err)
	// Output:
	// Hello, world!
	// ended: <nil>
}

// The same component on another machine: only the Dialer differs. Run keeps it in
// the realm whatever happens to the router and the network.
func ExampleURL() {
	var greeter client.Component // as in the example of Run
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // an example does not stay
	err := client.Run(ctx, greeter, client.Config{
		Dial:    client.URL("wss://gateway.example:8080/ws", transport.DialConfig{Formats: []wamp.Format{wamp.CBOR}}),
		Session: client.SessionConfig{Realm: "realm1"},
		OnState: func(connected bool, err error) { log.Println("connected:", connected, err) },
	})
	fmt.Println(err)
	// Output: <nil>
}

// The life of a connection, from beginning to end.
func ExampleComponent() {
	c := client.Component{
		OnConnect: func(_ context.Context, info wamp.PeerInfo, join *client.SessionConfig) error {
			fmt.Println("connected by", info.Transport, "to join", join.Realm)
			return nil
		},
		OnJoin: func(ctx context.Context, s *client.Session) error {
			fmt.Println("joined as", s.Welcome().Details["authrole"])
			return s.Leave(ctx)
		},
		OnLeave:      func(reason error) { fmt.Println("left:", reason) },
		OnDisconnect: func(reason error) { fmt.Println("disconnected:", reason) },
	}
	if err := client.Run(context.Background(), c, client.Config{
		Dial: client.Embedded(routerOf(), transport.PipeConfig{}), Session: client.SessionConfig{Realm: "realm1"},
	}); err != nil {
		log.Fatal(err)
	}
	// Output:
	// connected by pipe to join realm1
	// joined as trusted
	// left: <nil>
	// disconnected: <nil>
}

// One session after the other: each leaves its realm and names the next one.
func ExampleComponent_series() {
	r, err := router.New(router.Config{Realms: []router.RealmConfig{{Name: "realm1"}, {Name: "realm2"}}}, nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, realm := range []wamp.URI{"realm1", "realm2"} {
		visit := client.Component{OnJoin: func(ctx context.Context, s *client.Session) error {
			fmt.Println("in", s.Welcome().Details["realm"])
			return s.Leave(ctx)
		}}
		if err := client.Run(context.Background(), visit, client.Config{
			Dial: client.Embedded(r, transport.PipeConfig{}), Session: client.SessionConfig{Realm: realm},
		}); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// in realm1
	// in realm2
}

// A client that gives up, in place of trying for ever.
func ExampleConfig() {
	err := client.Run(context.Background(), client.Component{}, client.Config{
		Dial:    client.Embedded(routerOf(), transport.PipeConfig{}),
		Session: client.SessionConfig{Realm: "nowhere"},
		GiveUp:  func(failures int, err error) bool { return wamp.IsError(err, wamp.ErrURINoSuchRealm) || failures > 5 },
	})
	fmt.Println(wamp.IsError(err, wamp.ErrURINoSuchRealm))
	// Output: true
}

// A session that does not come back, for a program that does one thing and ends.
func ExampleConnect() {
	ctx := context.Background()
	s, err := client.Connect(ctx, client.Embedded(routerOf(), transport.PipeConfig{}), client.SessionConfig{Realm: "realm1"})
	if err != nil {
		log.Fatal(err)
	}
	n, err := client.Call[int](ctx, s, "wamp.session.count")
	fmt.Println(n, err)
	fmt.Println(s.Leave(ctx))
	// Output:
	// 1 <nil>
	// <nil>
}

// A client restores what it was asked for; it is used like any session, before
// there is a connection too.
func ExampleClient() {
	c, err := client.New(client.Config{
		Dial:    client.Embedded(routerOf(), transport.PipeConfig{}),
		Session: client.SessionConfig{Realm: "realm1"},
	}, nil)
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error)
	go func() { ran <- c.Run(ctx) }()

	if _, err := client.Register(ctx, c, "com.example.add", func(_ context.Context, in [2]int) (int, error) { return in[0] + in[1], nil }); err != nil {
		log.Fatal(err)
	}
	if _, err := c.Wait(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(client.Call[int](ctx, c, "com.example.add", [2]int{20, 3}))

	cancel()
	fmt.Println(<-ran)
	// Output:
	// 23 <nil>
	// <nil>
}

// How to log in: as Ann, with a password that is not sent.
func ExampleSessionConfig() {
	cfg := client.SessionConfig{
		Realm: "realm1",
		Auth:  auth.NewClient("ann", &auth.SCRAM{Password: auth.NewSecret("correct horse")}),
	}
	dial := client.URL("wss://gateway.example:8080", transport.DialConfig{})
	_, _ = dial, cfg // client.Connect(ctx, dial, cfg)
}

// Publisher and subscriber. With an acknowledgement the publisher knows that the
// router has the event.
func ExampleSubscribe() {
	ctx, s := context.Background(), joined()
	seen := make(chan string, 1) // a handler must not block
	unsubscribe, err := client.Subscribe(ctx, s, "com.example.temperature", func(celsius float64, ev *wamp.Event) {
		seen <- fmt.Sprint(ev.Details.Topic, " ", celsius)
	})
	if err != nil {
		log.Fatal(err)
	}
	me := wamp.PublishOptions{Acknowledge: true, IncludeMe: true}
	if err := client.PublishWith(ctx, s, "com.example.temperature", me, 21.5); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-seen)
	fmt.Println(unsubscribe(ctx), s.Leave(ctx))
	// Output:
	// com.example.temperature 21.5
	// <nil> <nil>
}

// The last value of a topic is kept by the router, for those who come later.
func ExampleSubscribeWith() {
	ctx, s := context.Background(), joined()
	if err := client.PublishWith(ctx, s, "com.example.door", wamp.PublishOptions{Retain: true}, "open"); err != nil {
		log.Fatal(err)
	}
	seen := make(chan string, 1) // a handler must not block
	late := wamp.SubscribeOptions{GetRetained: true, Match: wamp.MatchPrefix}
	if _, err := client.SubscribeWith(ctx, s, "com.example", late, func(state string, ev *wamp.Event) {
		seen <- fmt.Sprint(ev.Details.Topic, " is ", state, ", retained: ", ev.Details.Retained)
	}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-seen)
	_ = s.Leave(ctx)
	// Output: com.example.door is open, retained: true
}

func ExamplePublish() {
	ctx, s := context.Background(), joined()
	err := client.Publish(ctx, s, "com.example.log", "pump", 3, true) // three positional arguments
	fmt.Println(err)
	_ = s.Leave(ctx)
	// Output: <nil>
}

// Positional and keyword arguments as fields of a struct, both ways.
func ExampleRegister() {
	type order struct {
		Item  string `wamp:"0"`
		Count int    `wamp:"1"`
		Gift  bool   `wamp:"gift,optional"`
	}
	type bill struct {
		Total    float64 `wamp:"0"`
		Currency string  `wamp:"currency"`
	}
	ctx, s := context.Background(), joined()
	_, err := client.Register(ctx, s, "com.shop.order", func(_ context.Context, o order) (bill, error) {
		price := 2.5 * float64(o.Count)
		if o.Gift {
			price++
		}
		return bill{price, "EUR"}, nil
	})
	if err != nil {
		log.Fatal(err)
	}
	b, err := client.Call[bill](ctx, s, "com.shop.order", order{"apple", 4, true})
	fmt.Println(b.Total, b.Currency, err)

	// A caller in another language, or one without the type:
	b, err = client.Call[bill](ctx, s, "com.shop.order", wamp.Values(wamp.List{"apple", 4}, wamp.Dict{"gift": false}))
	fmt.Println(b.Total, b.Currency, err)
	_ = s.Leave(ctx)
	// Output:
	// 11 EUR <nil>
	// 10 EUR <nil>
}

// Several callees share a procedure; the router asks them in turn.
func ExampleRegisterWith() {
	ctx, r := context.Background(), routerOf()
	var sessions []*client.Session
	for _, name := range []string{"first", "second"} {
		s, err := client.Connect(ctx, client.Embedded(r, transport.PipeConfig{}), client.SessionConfig{Realm: "realm1", AuthID: name})
		if err != nil {
			log.Fatal(err)
		}
		sessions = append(sessions, s)
		shared := wamp.RegisterOptions{Invoke: wamp.InvokeRoundRobin, Concurrency: 4}
		if _, err := client.RegisterWith(ctx, s, "com.example.work", shared, func(context.Context, struct{}) (string, error) { return name, nil }); err != nil {
			log.Fatal(err)
		}
	}
	for range 3 {
		fmt.Println(client.Call[string](ctx, sessions[0], "com.example.work"))
	}
	for _, s := range sessions {
		_ = s.Leave(ctx)
	}
	// Output:
	// first <nil>
	// second <nil>
	// first <nil>
}

// What does not fit is an error that says what was expected.
func ExampleCall() {
	ctx, s := context.Background(), joined()
	if _, err := client.Register(ctx, s, "com.example.double", func(_ context.Context, n int) (int, error) { return 2 * n, nil }); err != nil {
		log.Fatal(err)
	}
	n, err := client.Call[int](ctx, s, "com.example.double", 21)
	fmt.Println(n, err)

	_, err = client.Call[int](ctx, s, "com.example.double", "21")
	var e *wamp.Error
	if errors.As(err, &e) {
		fmt.Println(e.URI)
		fmt.Println(e.Text)
	}
	_, err = client.Call[string](ctx, s, "com.example.double", 21)
	var m *client.MismatchError
	if errors.As(err, &m) {
		fmt.Println(m.What, "should be a", m.Expected)
	}
	_ = s.Leave(ctx)
	// Output:
	// 42 <nil>
	// wamp.error.invalid_argument
	// argument 0: expected int: UTF-8 text string in place of int
	// argument 0 should be a string
}

// A call is cancelled by its context; the mode says how.
func ExampleCallWith() {
	ctx, s := context.Background(), joined()
	begun, stopped := make(chan bool), make(chan error, 1)
	_, err := client.Register(ctx, s, "com.example.move", func(ctx context.Context, _ struct{}) (struct{}, error) {
		begun <- true
		<-ctx.Done() // the motor stops
		stopped <- ctx.Err()
		return struct{}{}, ctx.Err()
	})
	if err != nil {
		log.Fatal(err)
	}
	cctx, cancel := context.WithCancel(ctx)
	go func() { <-begun; cancel() }()
	_, err = client.CallWith[struct{}](cctx, s, "com.example.move", wamp.CallOptions{Cancel: wamp.CancelKill})
	fmt.Println(errors.Is(err, context.Canceled), <-stopped)
	_ = s.Leave(ctx)
	// Output: true context canceled
}

// Progressive results, read in a loop. Leaving the loop cancels the call.
func ExampleResults() {
	ctx, s := context.Background(), joined()
	_, err := client.Register(ctx, s, "com.example.flash", func(ctx context.Context, image string) (string, error) {
		for percent := 0; percent < 100; percent += 25 {
			if err := client.Progress(ctx, fmt.Sprint(percent, " %")); err != nil {
				return "", err
			}
		}
		return image + " is written", nil
	})
	if err != nil {
		log.Fatal(err)
	}
	for text, err := range client.Results[string](ctx, s, "com.example.flash", "node.hex") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(text)
	}
	_ = s.Leave(ctx)
	// Output:
	// 0 %
	// 25 %
	// 50 %
	// 75 %
	// node.hex is written
}

// Arguments in pieces: neither side holds all of them at a time.
func ExampleCallPieces() {
	ctx, s := context.Background(), joined()
	_, err := client.RegisterPieces(ctx, s, "com.example.upload", func(_ context.Context, pieces iter.Seq2[[]byte, error]) (int, error) {
		size := 0
		for piece, err := range pieces {
			if err != nil {
				return 0, err
			}
			size += len(piece)
		}
		return size, nil
	})
	if err != nil {
		log.Fatal(err)
	}
	image := make([]byte, 10_000)
	fmt.Println(client.CallPieces[int](ctx, s, "com.example.upload", slices.Chunk(image, 4096)))
	_ = s.Leave(ctx)
	// Output: 10000 <nil>
}

// A call that is open for as long as there is something to say.
func ExampleOpenCall() {
	ctx, s := context.Background(), joined()
	_, err := client.RegisterPieces(ctx, s, "com.example.join", func(_ context.Context, pieces iter.Seq2[string, error]) (string, error) {
		all := ""
		for piece, err := range pieces {
			if err != nil {
				return "", err
			}
			all += piece
		}
		return all, nil
	})
	if err != nil {
		log.Fatal(err)
	}
	call, err := s.OpenCall(ctx, "com.example.join", wamp.CallOptions{}, wamp.Args("one "), nil)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := call.Send(ctx, wamp.Args("two ")); err != nil {
		log.Fatal(err)
	}
	r, err := call.Finish(ctx, wamp.Args("three"))
	if err != nil {
		log.Fatal(err)
	}
	args, _ := r.Payload.GoValues()
	fmt.Println(args...)
	_ = s.Leave(ctx)
	// Output: one two three
}

// A handler learns who calls, where the caller discloses it.
func ExampleInvocationOf() {
	ctx, s := context.Background(), joined()
	_, err := client.Register(ctx, s, "com.example.whoami", func(ctx context.Context, _ struct{}) (bool, error) {
		return client.InvocationOf(ctx).Details.Caller == s.ID(), nil
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(client.CallWith[bool](ctx, s, "com.example.whoami", wamp.CallOptions{DiscloseMe: true}))
	_ = s.Leave(ctx)
	// Output: true <nil>
}

// Names in a URI, with their types, for subscribers, publishers, callers and callees.
func ExampleTemplate() {
	type price struct {
		Shop    string  `wamp:"<shop>"`
		Product int     `wamp:"<product>"`
		Amount  float64 `wamp:"0"`
	}
	const topic = "com.<shop>.<product:int>.price"
	ctx, s := context.Background(), joined()
	seen := make(chan price, 1)
	if _, err := client.Subscribe(ctx, s, topic, func(p price, _ *wamp.Event) { seen <- p }); err != nil {
		log.Fatal(err)
	}
	me := wamp.PublishOptions{IncludeMe: true}
	if err := client.PublishWith(ctx, s, "com.corner.17.price", me, 2.5); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%+v\n", <-seen)
	if err := client.PublishWith(ctx, s, topic, me, price{"market", 4, 1.2}); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%+v\n", <-seen)
	_ = s.Leave(ctx)
	// Output:
	// {Shop:corner Product:17 Amount:2.5}
	// {Shop:market Product:4 Amount:1.2}
}

func ExampleParseTemplate() {
	t, err := client.ParseTemplate("com.shop.<product:int>.update")
	if err != nil {
		log.Fatal(err)
	}
	pattern, match := t.Pattern()
	fmt.Println(pattern, match)
	uri, err := t.Build(17)
	fmt.Println(uri, err)
	parts, ok := t.Parse("com.shop.18.update")
	fmt.Println(parts[0].Name, parts[0].Int, ok)
	_, ok = t.Parse("com.shop.apple.update")
	fmt.Println(ok)
	// Output:
	// com.shop..update wildcard
	// com.shop.17.update <nil>
	// product 18 true
	// false
}

// NoStock is an error with details, which cross as keyword arguments.
type NoStock struct {
	Item string `wamp:"item"`
	Left int    `wamp:"left"`
}

func (e *NoStock) Error() string { return fmt.Sprintf("%d of %s left", e.Left, e.Item) }

// Go errors on both sides, URIs on the wire.
func ExampleErrorMap() {
	known := &client.ErrorMap{}
	if err := client.MapErrorType[*NoStock](known, "com.shop.error.no_stock"); err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	s, err := client.Connect(ctx, client.Embedded(routerOf(), transport.PipeConfig{}), client.SessionConfig{Realm: "realm1", Errors: known})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := client.Register(ctx, s, "com.shop.buy", func(_ context.Context, item string) (struct{}, error) {
		return struct{}{}, &NoStock{item, 2}
	}); err != nil {
		log.Fatal(err)
	}
	_, err = client.Call[struct{}](ctx, s, "com.shop.buy", "apple")
	var none *NoStock
	fmt.Println(errors.As(err, &none), none)
	fmt.Println(wamp.IsError(err, "com.shop.error.no_stock"))
	_ = s.Leave(ctx)
	// Output:
	// true 2 of apple left
	// true
}

// Counter serves com.example.count and listens to com.example.reset.
type Counter struct {
	Count client.Procedure[int, int] `wamp:"com.example.count"`
	Reset client.Handler[struct{}]   `wamp:"com.example.reset"`
	total int
}

// NewCounter ties the fields to the methods.
func NewCounter() *Counter {
	c := &Counter{}
	c.Count, c.Reset = c.count, c.reset
	return c
}

func (c *Counter) count(_ context.Context, n int) (int, error) { c.total += n; return c.total, nil }
func (c *Counter) reset(struct{}, *wamp.Event)                 { c.total = 0 }

// All procedures and handlers of an object at once.
func ExampleAttach() {
	ctx, s := context.Background(), joined()
	detach, err := client.Attach(ctx, s, NewCounter())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(client.Call[int](ctx, s, "com.example.count", 3))
	fmt.Println(client.Call[int](ctx, s, "com.example.count", 4))
	fmt.Println(detach(ctx), s.Leave(ctx))
	// Output:
	// 3 <nil>
	// 7 <nil>
	// <nil> <nil>
}
