package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/router"
	"gantry/wamp/transport"
)

// output is a buffer that a command writes while the test reads.
type output struct {
	mu      sync.Mutex // guards b
	b       bytes.Buffer
	written chan struct{} // one token after writes that nobody has looked at
}

func newOutput() *output { return &output{written: make(chan struct{}, 1)} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.written <- struct{}{}:
	default:
	}
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// await waits until the output contains text.
func (o *output) await(t testing.TB, text string) {
	t.Helper()
	late := time.After(patience)
	for !strings.Contains(o.String(), text) {
		select {
		case <-o.written:
		case <-late:
			t.Fatalf("no %q in the output:\n%s", text, o)
		}
	}
}

// realm is a router with one component in it, and the command line beside it.
type realm struct {
	t       *testing.T
	session *client.Session // the component's
	connect func() wamp.Peer
}

func newRealm(t *testing.T) *realm {
	t.Helper()
	rt, err := router.New(router.Config{Realms: []router.RealmConfig{{Name: "gantry"}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := rt.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	r := &realm{t: t}
	r.connect = func() wamp.Peer {
		mine, routers := transport.Pipe(transport.PipeConfig{})
		running.Go(func() { rt.Accept(ctx, routers) })
		return mine
	}
	r.session, err = client.Join(ctx, r.connect(), client.SessionConfig{Realm: "gantry"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.session.Close()
		cancel()
		running.Wait()
	})
	return r
}

// app returns a command line whose router is r's.
func (r *realm) app(getenv map[string]string) (a *app, out, errs *output) {
	out, errs = newOutput(), newOutput()
	a = newApp(strings.NewReader(""), out, errs, func(k string) string { return getenv[k] })
	a.dial = func(_ context.Context, url, _ string) (wamp.Peer, error) {
		if !strings.HasPrefix(url, "ws://127.0.0.1:8080") {
			return nil, errors.New("connection refused")
		}
		return r.connect(), nil
	}
	return a, out, errs
}

func (r *realm) run(args ...string) (code int, out, errs string) {
	a, o, e := r.app(nil)
	code = a.main(r.t.Context(), args)
	return code, o.String(), e.String()
}

func (r *realm) register(procedure wamp.URI, h wamp.InvocationHandler) {
	r.t.Helper()
	if _, err := r.session.Register(r.t.Context(), procedure, wamp.RegisterOptions{}, h); err != nil {
		r.t.Fatal(err)
	}
}

func TestCallPrintsResults(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	r.register("test.echo", func(_ context.Context, inv *wamp.Invocation, _ func(wamp.Payload) error) (wamp.Payload, error) {
		return inv.Payload, nil
	})
	for _, c := range []struct{ args, want string }{
		{"call test.echo", ""},
		{"call test.echo 21.5", "21.5\n"},
		{"call test.echo -5 -0.5 x", "-5\n-0.5\nx\n"},
		{"call test.echo on a=1 b=[1,{\"c\":null}]", "on\na: 1\nb: [1,{\"c\":null}]\n"},
		{`call test.echo "a=b"`, "a=b\n"},
		{`call test.echo "\u001b[31mred"`, `\u001b[31mred` + "\n"},
		{"call test.echo 9007199254740993 --json", `{"args":[9007199254740993],"kwargs":{}}` + "\n"},
		{"call --json test.echo a=true", `{"args":[],"kwargs":{"a":true}}` + "\n"},
	} {
		code, out, errs := r.run(strings.Fields(c.args)...)
		if code != exitOK || errs != "" || out != c.want {
			t.Errorf("%s: code %d, %q, %q, want %q", c.args, code, out, errs, c.want)
		}
	}
}

func TestProgressIsShownAsItComes(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	more := make(chan struct{}) // unbuffered: the test lets the procedure go on
	r.register("test.slow", func(ctx context.Context, _ *wamp.Invocation, progress func(wamp.Payload) error) (wamp.Payload, error) {
		if err := progress(wamp.Values(nil, wamp.Dict{"percent": 50})); err != nil {
			return wamp.Payload{}, err
		}
		select {
		case <-more:
			return wamp.Args("done"), nil
		case <-ctx.Done():
			return wamp.Payload{}, ctx.Err()
		}
	})
	for _, c := range []struct {
		args           []string
		progress, want string
		onOut          bool
	}{
		{[]string{"call", "test.slow"}, "... percent=50\n", "done\n", false},
		{[]string{"call", "--json", "test.slow"}, `{"args":[],"kwargs":{"percent":50},"progress":true}` + "\n", `{"args":["done"],"kwargs":{}}` + "\n", true},
	} {
		a, out, errs := r.app(nil)
		code := make(chan int, 1)
		go func() { code <- a.main(t.Context(), c.args) }()
		if c.onOut {
			out.await(t, c.progress)
		} else {
			errs.await(t, c.progress)
		}
		more <- struct{}{}
		if got := <-code; got != exitOK || !strings.HasSuffix(out.String(), c.want) {
			t.Errorf("%v: code %d, %q", c.args, got, out)
		}
	}
}

func TestCtrlCCancelsTheCall(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	told := make(chan struct{}) // closed when the procedure has been told
	r.register("test.wait", func(ctx context.Context, _ *wamp.Invocation, progress func(wamp.Payload) error) (wamp.Payload, error) {
		if err := progress(wamp.Args("waiting")); err != nil {
			return wamp.Payload{}, err
		}
		<-ctx.Done()
		close(told)
		return wamp.Payload{}, ctx.Err()
	})
	a, _, errs := r.app(nil)
	ctx, interrupt := context.WithCancel(t.Context())
	code := make(chan int, 1)
	go func() { code <- a.main(ctx, []string{"call", "test.wait"}) }()
	errs.await(t, "waiting")
	interrupt()
	if got := <-code; got != exitInterrupted {
		t.Errorf("code %d, %s", got, errs)
	}
	<-told
}

func TestRefusalsShowURIAndDetails(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	r.register("test.refuse", func(context.Context, *wamp.Invocation, func(wamp.Payload) error) (wamp.Payload, error) {
		return wamp.Payload{}, wamp.NewError(wamp.ErrURIOutOfRange, "dim takes a value up to 100", wamp.Dict{"max": 100, "point": "dim"})
	})
	code, out, errs := r.run("call", "test.refuse", "200")
	want := "gantry: call test.refuse: gantry.error.out_of_range: dim takes a value up to 100\n  max: 100\n  point: dim\n"
	if code != exitFailed || out != "" || errs != want {
		t.Errorf("code %d, %q, %q", code, out, errs)
	}
	code, out, _ = r.run("call", "--json", "test.refuse", "200")
	if wantJSON := `{"args":["dim takes a value up to 100"],"error":"gantry.error.out_of_range","kwargs":{"max":100,"point":"dim"}}` + "\n"; code != exitFailed || out != wantJSON {
		t.Errorf("code %d, %q, want %q", code, out, wantJSON)
	}
	code, _, errs = r.run("call", "test.nobody")
	if code != exitFailed || !strings.Contains(errs, "wamp.error.no_such_procedure") {
		t.Errorf("code %d, %q", code, errs)
	}
	code, _, errs = r.run("publish", "not a topic", "1")
	if code != exitFailed || !strings.Contains(errs, "wamp.error.invalid_uri") {
		t.Errorf("code %d, %q", code, errs)
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	for _, c := range []struct {
		args []string
		code int
	}{
		{[]string{"version"}, exitOK},
		{[]string{"help"}, exitOK},
		{[]string{"call", "--help"}, exitOK},
		{[]string{"completion", "bash"}, exitOK},
		{[]string{"nonsense"}, exitUsage},
		{[]string{"call"}, exitUsage},
		{[]string{"call", "--nonsense", "x"}, exitUsage},
		{[]string{"call", "x", "a=1", "a=2"}, exitUsage},
		{[]string{"subscribe", "--match", "roughly", "x"}, exitUsage},
		{[]string{"subscribe", "a", "b"}, exitUsage},
		{[]string{"mqtt"}, exitUsage},
		{[]string{"mqtt", "publish", "--qos", "3", "a", "b"}, exitUsage},
		{[]string{"mqtt", "publish", "--broker", "localhost", "a", "b"}, exitUsage},
		{[]string{"mqtt", "publish", "--broker", "http://localhost:1", "a", "b"}, exitUsage},
		{[]string{"mqtt", "publish", "--user", "ann", "a", "b"}, exitUsage},
		{[]string{"mqtt", "publish", "--password-file", "ann.txt", "a", "b"}, exitUsage},
		{[]string{"history", "export"}, exitUsage},
		{[]string{"call", "--url", "ws://127.0.0.1:1/ws", "x"}, exitNoRouter},
		{[]string{"call", "--realm", "other", "x"}, exitNoRouter},
		{[]string{"publish", "x.y", "1"}, exitOK},
	} {
		code, out, errs := r.run(c.args...)
		if code != c.code {
			t.Errorf("%v: code %d, want %d\n%s%s", c.args, code, c.code, out, errs)
		}
		if code == exitUsage && !(strings.Contains(errs, "\nUsage: gantry") && strings.HasSuffix(errs, " --help\n")) {
			t.Errorf("%v: no usage in %q", c.args, errs)
		}
		if (code == exitOK) == (errs != "") {
			t.Errorf("%v: code %d, but on standard error: %q", c.args, code, errs)
		}
	}
	a, _, errs := r.app(map[string]string{"GANTRY_URL": "ws://127.0.0.1:9/ws"})
	if code := a.main(t.Context(), []string{"call", "x"}); code != exitNoRouter || !strings.Contains(errs.String(), "127.0.0.1:9") {
		t.Errorf("GANTRY_URL: code %d, %s", code, errs)
	}
}

func TestSubscribeShowsEvents(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	publish := func(topic wamp.URI, p wamp.Payload) {
		t.Helper()
		if err := r.session.Publish(t.Context(), topic, wamp.PublishOptions{Acknowledge: true, Retain: true}, p); err != nil {
			t.Fatal(err)
		}
	}
	publish("gantry.gw.point.hall.temp", wamp.Values(wamp.List{21.5}, wamp.Dict{"q": "good", "unit": "Cel", "ts": 1}))
	publish("gantry.gw.point.hall.door", wamp.Values(wamp.List{nil}, wamp.Dict{"q": "bad", "why": "checksum"}))
	publish("gantry.gw.state.hall.link", wamp.Values(wamp.List{"offline"}, wamp.Dict{"since": 1, "reason": "unplugged"}))

	code, out, errs := r.run("subscribe", "--retained", "--count", "1", "gantry.gw.point.hall.temp")
	if code != exitOK || !strings.HasSuffix(out, "  gantry.gw.point.hall.temp  21.5 Cel  (retained)\n") {
		t.Errorf("code %d, %q, %q", code, out, errs)
	}
	code, out, errs = r.run("subscribe", "--retained", "--count", "2", "gantry..point..")
	if code != exitOK || !strings.Contains(out, "gantry.gw.point.hall.door  -  bad: checksum") {
		t.Errorf("code %d, %q, %q", code, out, errs)
	}
	code, out, errs = r.run("subscribe", "--retained", "--count", "1", "gantry..state..link")
	if code != exitOK || !strings.HasSuffix(out, "  gantry.gw.state.hall.link  offline: unplugged  (retained)\n") {
		t.Errorf("code %d, %q, %q", code, out, errs)
	}
	code, out, errs = r.run("subscribe", "--json", "--match", "prefix", "--retained", "--count", "3", "gantry.gw.")
	if code != exitOK || strings.Count(out, "\n") != 3 {
		t.Errorf("code %d, %q, %q", code, out, errs)
	}
	for line := range strings.Lines(out) {
		var ev struct {
			Topic       string
			Publication uint64
			Retained    bool
			Args        []any
			Kwargs      map[string]any
		}
		if err := json.Unmarshal([]byte(line), &ev); err != nil || !strings.HasPrefix(ev.Topic, "gantry.gw.") || ev.Publication == 0 || !ev.Retained || len(ev.Args) != 1 || len(ev.Kwargs) == 0 {
			t.Errorf("%v: %s", err, line)
		}
	}
}

func TestSubscribeEndsOnCtrlCAndOnLoss(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	for name, c := range map[string]struct {
		end  func(interrupt func(), peer wamp.Peer)
		code int
	}{
		"interrupted": {func(interrupt func(), _ wamp.Peer) { interrupt() }, exitOK},
		"lost":        {func(_ func(), peer wamp.Peer) { peer.Close() }, exitNoRouter},
	} {
		a, out, errs := r.app(nil)
		peer := r.connect()
		a.dial = func(context.Context, string, string) (wamp.Peer, error) { return peer, nil }
		ctx, interrupt := context.WithCancel(t.Context())
		code := make(chan int, 1)
		go func() { code <- a.main(ctx, []string{"subscribe", "--retained", "test.topic"}) }()
		if err := r.session.Publish(t.Context(), "test.topic", wamp.PublishOptions{Acknowledge: true, Retain: true}, wamp.Args("hello")); err != nil {
			t.Fatal(err)
		}
		out.await(t, "hello")
		c.end(interrupt, peer)
		if got := <-code; got != c.code {
			t.Errorf("%s: code %d, %s", name, got, errs)
		}
		interrupt()
	}
}

func TestDevicesShowsTheTable(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	for topic, p := range map[wamp.URI]wamp.Payload{
		"gantry.gw.state.hall.link":   wamp.Values(wamp.List{"degraded"}, wamp.Dict{"since": time.Now().Add(-90*time.Minute - time.Second).UnixMicro(), "reason": "no_match"}),
		"gantry.gw.point.hall.temp":   wamp.Values(wamp.List{21.5}, wamp.Dict{"q": "good", "unit": "Cel", "ts": time.Now().Add(30 * time.Second).UnixMicro()}), // of a clock that is ahead
		"gantry.gw.point.hall.door":   wamp.Values(wamp.List{nil}, wamp.Dict{"q": "bad", "why": "checksum"}),
		"gantry.gw.state.attic.link":  wamp.Values(wamp.List{"offline"}, wamp.Dict{"since": 1}),
		"gantry.gw.point.attic.other": wamp.Values(wamp.List{"x", "y"}, nil),                // no reading
		"gantry.gw.point.roof.rain":   wamp.Values(wamp.List{true}, wamp.Dict{"q": "good"}), // of a rule, without a state
	} {
		if err := r.session.Publish(t.Context(), topic, wamp.PublishOptions{Acknowledge: true, Retain: true}, p); err != nil {
			t.Fatal(err)
		}
	}
	code, out, errs := r.run("devices")
	if code != exitOK {
		t.Fatalf("code %d, %s", code, errs)
	}
	var rows []string
	for line := range strings.Lines(out) {
		rows = append(rows, strings.Join(strings.Fields(line), " "))
	}
	if len(rows) != 5 || !strings.HasPrefix(rows[1], "gw attic offline") ||
		!strings.HasPrefix(rows[2], "gw hall degraded (no_match) 1h30m") || !strings.HasSuffix(rows[2], "door - bad: checksum") ||
		rows[3] != "temp 21.5 Cel good now" || rows[4] != "gw roof - rain true good" {
		t.Errorf("table:\n%s", out)
	}
	code, out, errs = r.run("devices", "--once", "--json")
	if code != exitOK || strings.Count(out, "\n") != 3 || !strings.Contains(out, `"temp":{"q":"good"`) {
		t.Errorf("code %d, %q, %q", code, out, errs)
	}
}

// TestAbsentPartsSayWhatTheyNeed calls what a gateway serves only with some tables in
// its configuration.
func TestAbsentPartsSayWhatTheyNeed(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	for args, want := range map[string]string{
		"call gantry.demo.sys.queue.status":                  "only with [uplink.NAME]",
		"fleet --gateway demo":                               "only with gateway.hub = true",
		"fleet gaps --gateway demo":                          "only with gateway.hub = true",
		"mqtt parked --gateway demo":                         "only with [broker.NAME]",
		"mqtt parked --gateway demo --broker house --drop 1": "only with [broker.NAME]",
	} {
		if code, out, errs := r.run(strings.Fields(args)...); code != exitFailed || out != "" || !strings.Contains(errs, want) {
			t.Errorf("%s: code %d, %q, %q, want %q", args, code, out, errs, want)
		}
	}
	if _, _, errs := r.run("call", "gantry.demo.sys.device.list"); strings.Contains(errs, "only with") {
		t.Error(errs)
	}
}

// TestEmptyListsSaySo wants a line where there is nothing to list.
func TestEmptyListsSaySo(t *testing.T) {
	t.Parallel()
	r := newRealm(t)
	r.register("gantry.demo.sys.mqtt.parked", func(context.Context, *wamp.Invocation, func(wamp.Payload) error) (wamp.Payload, error) {
		return wamp.Args(wamp.List{}), nil
	})
	state := writeFiles(t, map[string]string{"store/lock": ""})
	for args, want := range map[string]string{
		"mqtt parked --gateway demo":           "no messages are set aside\n",
		"mqtt parked --gateway demo --json":    "",
		"store status --state " + state:        "no outboxes\n",
		"store status --json --state " + state: "[]\n",
	} {
		if code, out, errs := r.run(strings.Fields(args)...); code != exitOK || out != want {
			t.Errorf("%s: code %d, %q, %q, want %q", args, code, out, errs, want)
		}
	}
}
