package interop_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"gantry/wamp"
	"gantry/wamp/auth"
	"gantry/wamp/client"
	"gantry/wamp/interop"
	"gantry/wamp/serialize"
	"gantry/wamp/transport"
)

// noBytes says who has no form of bytes in JSON.
var noBytes = map[string]string{
	"wampy/ws/json":            "bytes cannot be sent in JSON",
	"autobahn-js/rs/json":      "bytes cannot be sent in JSON over RawSocket",
	"autobahn-js/rs+unix/json": "bytes cannot be sent in JSON over RawSocket",
	"autobahn-js/lp/json":      "bytes cannot be sent in JSON over long-poll",
}

// scenarios are run one after the other in one session of every library over
// everything that it speaks without TLS.
var scenarios = []struct {
	name   string
	run    func(w *world)
	except map[string]string // what to skip, "library[/transport/serializer]", and why
}{
	{"a peer that asks for an unknown realm is refused", unknownRealm, nil},
	{"events reach a peer by exact topic, prefix and wildcard", eventsToPeer, nil},
	{"events of a peer reach Gantry", eventsOfPeer, nil},
	{"a publisher hears itself only when it wants to", publisherExclusion, nil},
	{"black and white lists of a peer are followed", lists, nil},
	{"retained values of Gantry reach a peer", retainedToPeer, map[string]string{
		"nexus": "an event that comes right behind SUBSCRIBED may be lost"}},
	{"retained values of a peer reach Gantry", retainedOfPeer, map[string]string{
		"wampy": "the option retain is checked and not sent"}},
	{"integers up to 2^53 both ways", integers, nil},
	{"bytes both ways", binary, noBytes},
	{"large payloads both ways", large, nil},
	{"payloads that a peer passes through", passthru, map[string]string{
		"autobahn-python": "no payload passthru", "autobahn-js": "no payload passthru"}},
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
	{"a gateway leaves in order", gatewayLeaves, nil},
	{"a peer is killed", killed, map[string]string{
		"autobahn-js/lp/json": "whoever is gone is noticed when nothing was asked for 30 s"}},
}

// world is the program gantry with one session of a library and one of Gantry's
// client, which speak different serializers, so that payloads are transcoded.
type world struct {
	*testing.T
	kind    string
	link    interop.Link
	gateway *interop.Gateway
	realm   string
	peer    *interop.Peer
	joined  map[string]any // what the peer was told in WELCOME
	gantry  *client.Session
}

// often has every library show that it understands pings.
const often = `schema = 1
realm.on_demand = "peers."
listen.ping_interval = "20ms"
`

// quiet sends none on RawSocket: Autobahn|Python on asyncio hangs up at the first,
// since to answer is not implemented there.
const quiet = often + "listen.quiet_rawsocket = true\n"

func configFor(kind string) string {
	if kind == "autobahn-python" {
		return quiet
	}
	return often
}

// TestPeers runs the scenarios against the program, without logins: every library
// has a gateway of its own, every link a realm.
func TestPeers(t *testing.T) {
	t.Parallel()
	for _, kind := range interop.Kinds() {
		t.Run(kind.Name, func(t *testing.T) {
			t.Parallel()
			library := kind.Need(t)
			links := slices.DeleteFunc(slices.Clone(kind.Links), interop.Link.TLS)
			if testing.Short() {
				links = links[len(links)-1:]
			}
			g := interop.StartGateway(t, configFor(kind.Name))
			for _, link := range links {
				t.Run(link.String(), func(t *testing.T) {
					t.Parallel()
					w := &world{T: t, kind: kind.Name, link: link, gateway: g, peer: library.Start(t)}
					w.realm = "peers." + nameOf(link.String())
					w.joined = w.peer.Join(g.Join(link, w.realm))
					w.gantry = ours(t, g, interop.Link{Scheme: "ws", Serializer: link.Serializer}, w.realm, nil)
					w.runAll()
				})
			}
		})
	}
}

// runAll runs the scenarios that the library can carry out.
func (w *world) runAll() {
	t := w.T
	defer w.use(t)
	for _, s := range scenarios {
		if slices.ContainsFunc(slices.Collect(maps.Keys(s.except)), w.is) {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			w.use(t)
			s.run(w)
		})
	}
}

// use makes t the test that failures go to.
func (w *world) use(t *testing.T) {
	w.T = t
	w.peer.Use(t)
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

// ours joins Gantry's client, over a link but with another serializer than that
// of the link.
func ours(t *testing.T, g *interop.Gateway, link interop.Link, realm string, proof *auth.Client) *client.Session {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), interop.Patience)
	defer cancel()
	theirs := map[string]wamp.Format{"json": wamp.JSON, "msgpack": wamp.MsgPack, "cbor": wamp.CBOR}[strings.TrimSuffix(link.Serializer, ".batched")]
	cfg := transport.DialConfig{Formats: []wamp.Format{theirs%wamp.CBOR + 1}}
	j := g.Join(link, realm)
	if j.CA != "" {
		pem, err := os.ReadFile(j.CA)
		if err != nil {
			t.Fatal(err)
		}
		cfg.TLS = &tls.Config{RootCAs: x509.NewCertPool()}
		cfg.TLS.RootCAs.AppendCertsFromPEM(pem)
	}
	p, err := transport.Dial(ctx, j.URL, cfg)
	if err != nil {
		t.Fatal(err)
	}
	s, err := client.Join(ctx, p, client.SessionConfig{Realm: wamp.URI(realm), Auth: proof})
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
