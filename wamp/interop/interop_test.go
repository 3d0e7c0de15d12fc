package interop_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/interop"
	"gantry/wamp/router"
	"gantry/wamp/serialize"
	"gantry/wamp/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noBytes have no form of bytes in JSON, as "library/transport/serializer".
var noBytes = []string{"wampy/ws/json", "autobahn-js/rs/json"}

// scenarios are run one after the other in one session of every library over
// everything that it speaks.
var scenarios = []struct {
	name   string
	run    func(w *world)
	except []string
}{
	{"a peer that asks for an unknown realm is refused", unknownRealm, nil},
	{"events reach a peer by exact topic, prefix and wildcard", eventsToPeer, nil},
	{"events of a peer reach Gantry", eventsOfPeer, nil},
	{"a publisher hears itself only when it wants to", publisherExclusion, nil},
	{"black and white lists of a peer are followed", lists, nil},
	{"retained values of Gantry reach a peer", retainedToPeer, []string{"nexus"}},
	{"retained values of a peer reach Gantry", retainedOfPeer, []string{"wampy"}},
	{"integers up to 2^53 both ways", integers, nil},
	{"bytes both ways", binary, noBytes},
	{"large payloads both ways", large, nil},
	{"payloads that a peer passes through", passthru, []string{"autobahn-python", "autobahn-js"}},
	{"Gantry calls a peer", callsToPeer, nil},
	{"a peer calls Gantry", callsOfPeer, nil},
	{"a peer serves patterns", patterns, nil},
	{"progressive results both ways", progress, nil},
	{"calls in parallel both ways", parallel, nil},
	{"Gantry cancels a call to a peer", cancelToPeer, nil},
	{"a peer cancels a call to Gantry", cancelOfPeer, nil},
	{"calls to a peer time out", timeoutToPeer, nil},
	{"calls of a peer time out", timeoutOfPeer, nil},
	{"a peer shares a registration", shared, nil},
	{"a peer leaves in order", leave, nil},
	{"a router leaves in order", routerLeaves, nil},
	{"a peer is killed", killed, nil},
}

// world is a router with one session of a library and one of Gantry's client,
// which speak different serializers, so that payloads are transcoded.
type world struct {
	*testing.T
	kind   string
	link   interop.Link
	addr   string
	peer   *interop.Peer
	joined map[string]any // what the peer was told in WELCOME
	gantry *client.Session
}

func TestPeers(t *testing.T) {
	for _, kind := range interop.Kinds() {
		t.Run(kind.Name, func(t *testing.T) {
			t.Parallel()
			library := kind.Need(t)
			links := kind.Links
			if testing.Short() {
				links = links[len(links)-1:]
			}
			for _, link := range links {
				t.Run(link.String(), func(t *testing.T) {
					t.Parallel()
					w := &world{T: t, kind: kind.Name, link: link, peer: library.Start(t)}
					w.addr, _ = w.listen()
					w.joined = w.peer.Join(w.join(w.addr))
					f := map[string]wamp.Format{"json": wamp.JSON, "msgpack": wamp.MsgPack, "cbor": wamp.CBOR}[link.Serializer]
					w.gantry = ours(t, w.join(w.addr).URL, f%wamp.CBOR+1)
					for _, s := range scenarios {
						if slices.ContainsFunc(s.except, w.is) {
							continue
						}
						t.Run(s.name, func(t *testing.T) {
							w.T = t
							w.peer.Use(t)
							s.run(w)
						})
					}
					w.peer.Use(t)
				})
			}
		})
	}
}

// join is how the world's peer joins the router at addr.
func (w *world) join(addr string) interop.Join {
	url := w.link.Scheme + "://" + addr
	if w.link.Scheme == "ws" {
		url += "/ws"
	}
	return interop.Join{URL: url, Realm: "realm1", Serializer: w.link.Serializer}
}

// is reports whether the world's peer is this library, or this library over this
// link.
func (w *world) is(what string) bool {
	return what == w.kind || what == w.kind+"/"+w.link.String()
}

// context ends when nobody should wait any more.
func (w *world) context() context.Context {
	ctx, cancel := context.WithTimeout(w.T.Context(), interop.Patience)
	w.Cleanup(cancel)
	return ctx
}

// listen starts a router behind one port and returns host:port, and what stops it.
func (w *world) listen() (addr string, stop func()) {
	t := w.T
	t.Helper()
	r, err := router.New(router.Config{Realms: []router.RealmConfig{{Name: "realm1"}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg := transport.ServerConfig{Options: transport.Options{
		// Often, so that every library shows that it understands pings.
		PingInterval: 20 * time.Millisecond,
		// Autobahn|Python on asyncio hangs up at the first ping on RawSocket: to answer
		// is not implemented there.
		QuietRawSocket: w.is("autobahn-python"),
	}}
	srv, err := transport.NewServer(cfg, r.Accept, nil)
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
		if err := srv.Serve(ctx, l); err != nil {
			t.Error(err)
		}
	})
	routing, stopRouting := context.WithCancel(context.Background())
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		if err := r.Run(routing); err != nil {
			t.Error(err)
		}
	}()
	stop = func() {
		stopRouting()
		<-ran
		cancel()
		wg.Wait()
	}
	t.Cleanup(stop)
	return l.Addr().String(), stop
}

// ours joins Gantry's client.
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

// do is a command to a peer.
type do = map[string]any

// doc are arguments or a value as the peers write them.
type (
	list = []any
	doc  = map[string]any
)

// plain turns values of Gantry into what a peer would have written.
func plain(v any) any {
	switch v := v.(type) {
	case []byte:
		return doc{"$bytes": hex.EncodeToString(v)}
	case int:
		return float64(v)
	case int64:
		return float64(v)
	case wamp.List:
		l := list{}
		for _, x := range v {
			l = append(l, plain(x))
		}
		return l
	case wamp.Dict:
		d := doc{}
		for k, x := range v {
			d[k] = plain(x)
		}
		return d
	}
	return v
}

// same fails the test when a payload of Gantry is not what a peer calls args and
// kwargs.
func (w *world) same(what string, p wamp.Payload, args list, kwargs doc) {
	w.Helper()
	a, k, err := serialize.Values(p)
	if a == nil {
		a = wamp.List{}
	}
	if k == nil {
		k = wamp.Dict{}
	}
	if err != nil || !reflect.DeepEqual(plain(a), plain(args)) || !reflect.DeepEqual(plain(k), plain(kwargs)) {
		w.Errorf("%s: Gantry got %s %v; want %s", what, short(a, k), err, short(args, kwargs))
	}
}

// heard fails the test when what a peer tells has other args and kwargs.
func (w *world) heard(what string, m any, args list, kwargs doc) {
	w.Helper()
	got, _ := m.(map[string]any)
	if !reflect.DeepEqual(got["args"], plain(args)) || !reflect.DeepEqual(got["kwargs"], plain(kwargs)) {
		w.Errorf("%s: the peer got %s; want %s", what, short(got), short(args, kwargs))
	}
}

// short prints values for a failure without all of a large one.
func short(v ...any) string { return fmt.Sprintf("%.500s", fmt.Sprint(v...)) }

// publish publishes for Gantry and waits until that is done.
func (w *world) publish(topic wamp.URI, o wamp.PublishOptions, args list) {
	w.Helper()
	o.Acknowledge = true
	if err := w.gantry.Publish(w.context(), topic, o, wamp.Values(args, nil)); err != nil {
		w.Fatal(err)
	}
}

// subscribe subscribes for Gantry until the scenario ends.
func (w *world) subscribe(topic wamp.URI, o wamp.SubscribeOptions) <-chan *wamp.Event {
	w.Helper()
	events := make(chan *wamp.Event, 100) // more than any scenario publishes
	undo, err := w.gantry.Subscribe(w.context(), topic, o, func(ev *wamp.Event) { events <- ev })
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		if err := undo(context.Background()); err != nil {
			w.Error(err)
		}
	})
	return events
}

// next waits for the next of what a scenario is to get.
func next[T any](w *world, what string, c <-chan T) (v T) {
	w.Helper()
	select {
	case v = <-c:
	case <-time.After(interop.Patience):
		w.Fatal("no " + what)
	}
	return v
}

// register registers for Gantry until the scenario ends.
func (w *world) register(procedure wamp.URI, o wamp.RegisterOptions, h wamp.InvocationHandler) {
	w.Helper()
	undo, err := w.gantry.Register(w.context(), procedure, o, h)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		if err := undo(context.Background()); err != nil {
			w.Error(err)
		}
	})
}

// call calls for Gantry.
func (w *world) call(procedure wamp.URI, args list, kwargs doc) wamp.Payload {
	w.Helper()
	p, err := w.gantry.Call(w.context(), procedure, wamp.CallOptions{}, wamp.Values(args, kwargs))
	if err != nil {
		w.Fatal(err)
	}
	return p
}
