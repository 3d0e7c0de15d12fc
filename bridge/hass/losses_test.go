package hass_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gantry/bridge"
	"gantry/bridge/hass"
	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/router"
	"gantry/wamp/serialize"
	"gantry/wamp/transport"
)

// broker takes messages, unless it is full.
type broker struct {
	mu   sync.Mutex
	full bool
	took []string
}

func (b *broker) Send(_ context.Context, m bridge.Message) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.full {
		return errors.New("quota exceeded")
	}
	b.took = append(b.took, m.Topic+" "+string(m.Payload))
	return nil
}

func (b *broker) Subscribe(context.Context, []string) error { return nil }

// set says whether the broker is full, and returns what it has taken before.
func (b *broker) set(full bool) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	took := b.took
	b.full, b.took = full, nil
	return took
}

// world is a publisher in a realm whose gateway has one device.
type world struct {
	*hass.Publisher
	sess  *client.Session
	lines bytes.Buffer // to be read when the bubble rests
}

// TestLossesAreCounted runs a publisher whose realm and whose broker are at fault.
func TestLossesAreCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		emit := func(topic wamp.URI, args ...any) {
			t.Helper()
			if err := w.sess.Publish(t.Context(), topic, wamp.PublishOptions{Acknowledge: true}, wamp.Args(args...)); err != nil {
				t.Fatal(err)
			}
		}
		b := &broker{}
		w.Connected(b)
		emit("gantry.gw.state.lamp.link", "online")
		time.Sleep(time.Second)
		if took := fmt.Sprint(b.set(true)); !strings.Contains(took, "gantry_gw/lamp/availability online") {
			t.Fatalf("%s", took)
		}
		emit("gantry.gw.point.lamp.on", true) // the broker is full
		time.Sleep(time.Second)
		if took := b.set(false); len(took) > 0 {
			t.Errorf("%q", took)
		}
		time.Sleep(time.Minute)
		if took := fmt.Sprint(b.set(false)); !strings.Contains(took, "gantry_gw/lamp/on ON") {
			t.Errorf("not sent again: %s", took)
		}

		emit("gantry.gw.point.lamp.on.more", true)
		emit("gantry.gw.point.lamp.on")
		emit("gantry.gw.state.lamp.link")
		for i := range 16384 + 1 {
			w.Receive(bridge.Message{Topic: fmt.Sprint("homeassistant/device/gantry_gw_old", i, "/config"), Payload: []byte("{}"), Retained: true})
			if i == 0 {
				w.Lost("gone") // nothing is taken back meanwhile
			}
		}
		synctest.Wait()
		st := w.Stats()
		for name, c := range map[string]struct{ got, want uint64 }{
			"unsent": {st.Unsent, 1}, "topic": {st.BadTopic, 1}, "undecodable": {st.Undecodable, 2}, "old": {st.Old, 1}, "no entity": {st.NoEntity, 44},
		} {
			if c.got != c.want {
				t.Errorf("%s: %d, want %d", name, c.got, c.want)
			}
		}
		for _, text := range []string{"are not taken", "names no device", "cannot be read", "stays at the broker", "has too many"} {
			if strings.Count(w.lines.String(), text) != 1 {
				t.Errorf("log without %q: %s", text, &w.lines)
			}
		}
	})
}

// TestWhatIsNotTakenIsSentAgain has a broker that is full, and a gateway that does not answer, for
// a while.
func TestWhatIsNotTakenIsSentAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		b := &broker{full: true}
		w.Connected(b)
		w.Receive(bridge.Message{Topic: "homeassistant/device/gantry_gw_gone/config", Payload: []byte("{}"), Retained: true})
		time.Sleep(time.Second)
		b.set(false)
		time.Sleep(time.Minute)
		if took := b.set(false); !slices.Contains(took, "homeassistant/device/gantry_gw_gone/config ") || !slices.Contains(took, "gantry_gw/gone/availability ") {
			t.Errorf("a device that is gone is not taken back: %q", took)
		}
		for topic, arg := range map[wamp.URI]any{"gantry.gw.state.busy.link": "online", "gantry.gw.state.uplink_hq.queue": 1200} {
			if err := w.sess.Publish(t.Context(), topic, wamp.PublishOptions{}, wamp.Args(arg)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		if took := fmt.Sprint(b.set(false)); strings.Contains(took, "uplink_hq") || !strings.Contains(took, "gantry_gw/busy/availability online") {
			t.Errorf("%s", took)
		}
	})
}

func newWorld(t *testing.T) *world {
	t.Helper()
	login, err := router.NewAuthenticator(router.LoginConfig{AnonymousAnywhere: true})
	if err != nil {
		t.Fatal(err)
	}
	r, err := router.New(router.Config{
		Realms:       []router.RealmConfig{{Name: "gantry", Authorize: func(router.Identity, router.Action, wamp.URI, wamp.Match) (bool, error) { return true, nil }}},
		Authenticate: login,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var active sync.WaitGroup
	active.Go(func() { _ = r.Run(ctx) }) // the end of ctx is all that ends it
	join := func() *client.Session {
		c, far := transport.Pipe(transport.PipeConfig{})
		active.Go(func() { r.Accept(ctx, far) })
		s, err := client.Join(ctx, c, client.SessionConfig{Realm: "gantry"})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	w := &world{sess: join()}
	w.Publisher = hass.New(hass.Config{Gateway: "gw", Broker: "house", Prefix: "homeassistant", Devices: []string{"*"}}, join(), slog.New(slog.NewTextHandler(&w.lines, nil)))
	var asked atomic.Bool // for the device "busy", which is not described the first time
	_, err = w.sess.Register(ctx, "gantry.gw.sys.device.describe", wamp.RegisterOptions{}, func(_ context.Context, inv *wamp.Invocation, _ func(wamp.Payload) error) (wamp.Payload, error) {
		args, _, err := serialize.Values(inv.Payload)
		if err != nil || args[0] == "busy" && !asked.Swap(true) {
			return wamp.Payload{}, errors.New("busy")
		}
		points := wamp.List{wamp.Dict{"point": "on", "type": "bool", "access": "r"}}
		for i := range 299 {
			points = append(points, wamp.Dict{"point": fmt.Sprint("p", i), "type": "float", "access": "r"})
		}
		return wamp.Args(wamp.Dict{"device": args[0], "state": "online", "points": points}), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	shown, hide := context.WithCancel(ctx)
	ran := make(chan error, 1)
	go func() { ran <- w.Run(shown) }()
	synctest.Wait()
	t.Cleanup(func() {
		hide() // before its session ends
		if err := <-ran; err != nil {
			t.Error(err)
		}
		cancel()
		active.Wait()
	})
	return w
}
