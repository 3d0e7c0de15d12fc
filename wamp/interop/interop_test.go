package interop_test

import (
	"context"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/interop"
	"gantry/wamp/router"
	"gantry/wamp/serialize"
	"gantry/wamp/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// listen starts a router behind one port and returns host:port.
func listen(t *testing.T) string {
	t.Helper()
	r, err := router.New(router.Config{Realms: []router.RealmConfig{{Name: "realm1"}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	srv, err := transport.NewServer(transport.ServerConfig{}, r.Accept, nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() {
		if err := srv.Serve(ctx, l); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return l.Addr().String()
}

// ours joins Gantry's client over the same transport.
func ours(t *testing.T, url string, f wamp.Format) *client.Session {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), interop.Patience)
	defer cancel()
	p, err := transport.Dial(ctx, url, transport.DialConfig{Formats: []wamp.Format{f}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := client.Join(ctx, p, client.SessionConfig{Realm: "realm1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), interop.Patience)
		defer cancel()
		if err := s.Leave(ctx); err != nil {
			t.Errorf("leave: %v", err)
		}
	})
	return s
}

func TestAutobahnPython(t *testing.T) {
	t.Parallel()
	interop.NeedAutobahn(t)
	for _, scheme := range []string{"ws", "rs"} {
		for _, f := range []wamp.Format{wamp.JSON, wamp.MsgPack, wamp.CBOR} {
			t.Run(scheme+"/"+f.String(), func(t *testing.T) {
				t.Parallel()
				addr := listen(t)
				url := scheme + "://" + addr
				if scheme == "ws" {
					url += "/ws"
				}
				autobahn := interop.StartAutobahn(t, url, "realm1", f.String())
				// Ours speaks another serializer, so that payloads are transcoded.
				gantry := ours(t, url, f%wamp.CBOR+1)
				eventsBothWays(t, autobahn, gantry)
				callsBothWays(t, autobahn, gantry)
				autobahn.Leave()
			})
		}
	}
}

func eventsBothWays(t *testing.T, autobahn *interop.Autobahn, gantry *client.Session) {
	ctx, cancel := context.WithTimeout(context.Background(), interop.Patience)
	defer cancel()
	autobahn.OK(map[string]any{"op": "subscribe", "topic": "com.example.", "match": "prefix"})
	autobahn.OK(map[string]any{"op": "subscribe", "topic": "com..temperature", "match": "wildcard"})
	binary := []byte{0, 1, 0xfe, 0xff}
	if err := gantry.Publish(ctx, "com.example.temperature", wamp.PublishOptions{Acknowledge: true, Retain: true},
		wamp.Values(wamp.List{21.5, binary, "å", int64(1) << 53}, wamp.Dict{"unit": "Cel", "raw": wamp.Dict{"b": binary}})); err != nil {
		t.Fatal(err)
	}
	bin := map[string]any{"$bytes": "0001feff"}
	for range 2 {
		got := autobahn.Event("event")
		want := []any{21.5, bin, "å", float64(1 << 53)}
		if !reflect.DeepEqual(got["args"], want) || got["topic"] != "com.example.temperature" ||
			!reflect.DeepEqual(got["kwargs"], map[string]any{"unit": "Cel", "raw": map[string]any{"b": bin}}) {
			t.Errorf("autobahn got %v", got)
		}
	}
	autobahn.OK(map[string]any{"op": "subscribe", "topic": "com.example.temperature", "retained": true})
	if got := autobahn.Event("event"); got["retained"] != true {
		t.Errorf("the retained value came as %v", got)
	}
	events := make(chan *wamp.Event, 10)
	if _, err := gantry.Subscribe(ctx, "org.", wamp.SubscribeOptions{Match: wamp.MatchPrefix}, func(ev *wamp.Event) { events <- ev }); err != nil {
		t.Fatal(err)
	}
	autobahn.OK(map[string]any{"op": "publish", "topic": "org.example", "args": []any{1, "two", bin}, "kwargs": map[string]any{"k": nil}})
	ev := <-events
	args, kwargs, err := serialize.Values(ev.Payload)
	if err != nil || !reflect.DeepEqual(args, wamp.List{int64(1), "two", binary}) || !reflect.DeepEqual(kwargs, wamp.Dict{"k": nil}) {
		t.Errorf("gantry got %v %v, %v", args, kwargs, err)
	}
}

func callsBothWays(t *testing.T, autobahn *interop.Autobahn, gantry *client.Session) {
	ctx, cancel := context.WithTimeout(context.Background(), interop.Patience)
	defer cancel()
	// Autobahn calls, Gantry serves.
	_, err := gantry.Register(ctx, "com.gantry.echo", wamp.RegisterOptions{}, func(_ context.Context, inv *wamp.Invocation, progress func(wamp.Payload) error) (wamp.Payload, error) {
		if inv.Details.ReceiveProgress {
			for i := range 3 {
				if err := progress(wamp.Args(i)); err != nil {
					return wamp.Payload{}, err
				}
			}
		}
		return inv.Payload, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = gantry.Register(ctx, "com.gantry.refuse", wamp.RegisterOptions{}, func(context.Context, *wamp.Invocation, func(wamp.Payload) error) (wamp.Payload, error) {
		return wamp.Payload{}, wamp.NewError(wamp.ErrURIOutOfRange, "too hot", wamp.Dict{"max": 30})
	})
	if err != nil {
		t.Fatal(err)
	}
	got := autobahn.OK(map[string]any{"op": "call", "procedure": "com.gantry.echo", "args": []any{1, "x"}, "kwargs": map[string]any{"k": []any{true}}, "progress": true})
	if !reflect.DeepEqual(got, map[string]any{"args": []any{1.0, "x"}, "kwargs": map[string]any{"k": []any{true}}}) {
		t.Errorf("autobahn's call returned %v", got)
	}
	for i := range 3 {
		if p := autobahn.Event("progress"); !reflect.DeepEqual(p["args"], []any{float64(i)}) {
			t.Errorf("progress %d: %v", i, p)
		}
	}
	refused := autobahn.Do(map[string]any{"op": "call", "procedure": "com.gantry.refuse"})
	if refused["error"] != string(wamp.ErrURIOutOfRange) || !reflect.DeepEqual(refused["kwargs"], map[string]any{"max": 30.0}) {
		t.Errorf("autobahn's refused call: %v", refused)
	}
	// Gantry calls, Autobahn serves.
	autobahn.OK(map[string]any{"op": "register", "procedure": "com.autobahn.echo", "kind": "echo"})
	autobahn.OK(map[string]any{"op": "register", "procedure": "com.autobahn.slow", "kind": "slow"})
	autobahn.OK(map[string]any{"op": "register", "procedure": "com.autobahn.fail", "kind": "fail"})
	autobahn.OK(map[string]any{"op": "register", "procedure": "com.autobahn.many.", "kind": "echo", "match": "prefix"})
	large := strings.Repeat("0123456789abcdef", 8<<10)
	for _, procedure := range []wamp.URI{"com.autobahn.echo", "com.autobahn.many.one"} {
		p, err := gantry.Call(ctx, procedure, wamp.CallOptions{}, wamp.Values(wamp.List{large, []byte{1, 2}}, wamp.Dict{"f": 1.5}))
		if err != nil {
			t.Fatal(err)
		}
		args, kwargs, err := serialize.Values(p)
		if err != nil || !reflect.DeepEqual(args, wamp.List{large, []byte{1, 2}}) || !reflect.DeepEqual(kwargs, wamp.Dict{"f": 1.5}) {
			t.Errorf("%s returned %.100v %v, %v", procedure, args, kwargs, err)
		}
	}
	var steps []int
	p, err := gantry.CallProgress(ctx, "com.autobahn.slow", wamp.CallOptions{}, wamp.Args(3), func(p wamp.Payload) {
		var i int
		if err := serialize.Arg(p, 0, &i); err != nil {
			t.Error(err)
		}
		steps = append(steps, i)
	})
	var total int
	if err != nil || serialize.Arg(p, 0, &total) != nil || total != 3 || !reflect.DeepEqual(steps, []int{0, 1, 2}) {
		t.Errorf("progressive call: %v, steps %v, total %d", err, steps, total)
	}
	if _, err := gantry.Call(ctx, "com.autobahn.fail", wamp.CallOptions{}, wamp.Args("why")); !wamp.IsError(err, "com.example.error") {
		t.Errorf("failing call: %v", err)
	}
	if _, err := gantry.Call(ctx, "com.autobahn.slow", wamp.CallOptions{Timeout: 50}, wamp.Args(100000)); !wamp.IsError(err, wamp.ErrURITimeout) {
		t.Errorf("call with timeout: %v", err)
	}
}
