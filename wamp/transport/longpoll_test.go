package transport_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/router"
	"gantry/wamp/serialize"
	"gantry/wamp/transport"
	"gantry/wamp/wamptest"
)

func TestLongPollCarriesMessagesOfEverySize(t *testing.T) {
	t.Parallel()
	ours, theirs := certificate(t)
	opts := transport.Options{Queue: 4 << 20, Linger: hasty.Linger}
	for name, s := range map[string]*server{
		"lp://":      serve(t, "tcp", transport.ServerConfig{Options: opts}, echo),
		"lps://":     serve(t, "tcp", transport.ServerConfig{Options: opts, TLS: ours}, echo),
		"lp+unix://": serve(t, "unix", transport.ServerConfig{Options: opts}, echo),
	} {
		eachFormat(t, func(t *testing.T, f wamp.Format) {
			p, err := transport.Dial(t.Context(), name+s.addr, transport.DialConfig{Options: hasty, Formats: []wamp.Format{f}, TLS: theirs})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = p.Close() }()
			info := p.Info()
			if info.Transport != "longpoll" || info.Format != f || !info.Local || info.Encrypted != (name == "lps://") || info.Remote == "" {
				t.Errorf("info is %+v", info)
			}
			carries(t, p)
		})
	}
}

// AP "HTTP Longpoll Transport": unbatched, an answer has one message; batched, it
// has all that wait.
func TestLongPollAnswersWithOneMessageOrAllThatWait(t *testing.T) {
	t.Parallel()
	s := pollServer(t, transport.ServerConfig{}, nil)
	for protocol, f := range protocols() {
		p := newPoller(t, s).open(protocol)
		router := s.next(t)
		var want []byte
		for i := range 20 {
			m := &wamp.Published{Request: wamp.ID(i + 1), Publication: 7}
			if err := router.TrySend(m); err != nil {
				t.Fatal(err)
			}
			want = append(want, asSent(protocol, f, encode(t, f, m))...)
		}
		var got []byte
		n := 0
		for len(got) < len(want) {
			got = append(got, p.receive()...)
			n++
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: received %q, expected %q", protocol, got, want)
		}
		if batched := strings.HasSuffix(protocol, ".batched"); n != map[bool]int{true: 1, false: 20}[batched] {
			t.Errorf("%s: 20 messages came in %d answers", protocol, n)
		}
	}
}

// received has a peer read in the background until it ends.
func received(p wamp.Peer) (<-chan wamp.MessageType, <-chan error) {
	types, end := make(chan wamp.MessageType, 100), make(chan error, 1)
	go func() {
		for {
			m, err := p.Recv()
			if err != nil {
				end <- err
				return
			}
			types <- m.Type()
		}
	}()
	return types, end
}

func TestLongPollSendsAndCloses(t *testing.T) {
	t.Parallel()
	s := pollServer(t, transport.ServerConfig{}, nil)
	for protocol, f := range protocols() {
		p := newPoller(t, s).open(protocol)
		_, end := received(s.next(t))
		body := asSent(protocol, f, encode(t, f, &wamp.Unsubscribe{Request: 1, Subscription: 2}))
		p.send(body)
		if strings.HasSuffix(protocol, ".batched") {
			p.send(bytes.Repeat(body, 50))
		}
		if status, _ := p.post("close?x=382913", nil); status != http.StatusNoContent {
			t.Errorf("%s: close was answered by %d", protocol, status)
		}
		if err := <-end; err != io.EOF {
			t.Errorf("%s: the session ended with %v", protocol, err)
		}
		for _, verb := range []string{"send", "receive", "close"} {
			if status, _ := p.post(verb, nil); status != http.StatusNotFound {
				t.Errorf("%s behind the end was answered by %d", verb, status)
			}
		}
	}
}

func TestLongPollOpenRefusals(t *testing.T) {
	t.Parallel()
	s := pollServer(t, transport.ServerConfig{Formats: []wamp.Format{wamp.JSON, wamp.CBOR}, HTTP: teapot}, nil)
	p := newPoller(t, s)
	for _, body := range []string{"", "null", "[]", "{}", `"x"`, `{"protocols": null}`, `{"protocols": "wamp.2.json"}`, `{"protocols": []}`,
		`{"protocols": [1]}`, `{"protocols": ["wamp.2.msgpack"]}`, `{"protocols": ["wamp.2.json"]`, `{"protocols": ["wamp.2.json"]} x`,
		`{"protocols": [` + strings.Repeat(`"x",`, 40) + `"wamp.2.json"]}`, `{"protocols": ["` + strings.Repeat("x", 5000) + `", "wamp.2.json"]}`,
		strings.Repeat("[", 4096)} {
		if status, b := p.post("open", []byte(body)); status != http.StatusBadRequest {
			t.Errorf("%.60q was answered by %d, %s", body, status, b)
		}
	}
	status, b := p.post("open", []byte(`{"protocols": ["wamp.2.msgpack", "wamp.2.cbor.batched", "wamp.2.json"], "more": 1}`))
	if status != 200 || !strings.Contains(string(b), `"wamp.2.cbor.batched"`) {
		t.Errorf("a choice was answered by %d, %s", status, b)
	}
	_ = s.next(t)
	for path, want := range map[string]int{"": 404, "x": 404, "x/receive": 404, "open/receive": 404, "/receive": 404} {
		if status, _ := p.post(path, nil); status != want {
			t.Errorf("/lp/%s was answered by %d, expected %d", path, status, want)
		}
	}
	if resp, _ := p.do(t.Context(), http.MethodGet, "open", nil, nil); resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET was answered by %s", resp.Status)
	}
	if status, _ := p.open("wamp.2.json").post("other", nil); status != 404 {
		t.Errorf("an unknown request was answered by %d", status)
	}
	off := newPoller(t, pollServer(t, transport.ServerConfig{LongPoll: transport.LongPollConfig{Off: true}, HTTP: teapot}, nil))
	if status, _ := off.post("open", []byte(`{"protocols": ["wamp.2.json"]}`)); status != http.StatusTeapot {
		t.Errorf("long-poll is off and answers %d", status)
	}
}

func TestLongPollConfigIsChecked(t *testing.T) {
	t.Parallel()
	for _, lp := range []transport.LongPollConfig{{Path: "lp"}, {Path: "/"}, {Path: "/lp/"}, {MaxSessions: -1}, {Wait: -1}, {Idle: -1},
		{Wait: 30 * time.Second}, {Idle: 10 * time.Second}} {
		if _, err := transport.NewServer(transport.ServerConfig{LongPoll: lp}, serving(echo), nil); err == nil {
			t.Errorf("%+v is accepted", lp)
		}
	}
	for _, o := range []transport.Options{{Separator: 1}, {DeflateFrom: -1}} {
		if _, err := transport.NewServer(transport.ServerConfig{Options: o}, serving(echo), nil); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
}

// A body that is no message is the end of the session, and the client is told why.
func TestLongPollBodiesThatAreBroken(t *testing.T) {
	t.Parallel()
	opts := transport.Options{MaxMessage: 1024, Linger: wamptest.Deadline}
	s := pollServer(t, transport.ServerConfig{Options: opts}, func(_ context.Context, p wamp.Peer) {
		_, err := p.Recv()
		if v := (*wamp.ProtocolError)(nil); errors.As(err, &v) {
			_ = p.TrySend(&wamp.Abort{Reason: wamp.ErrURIProtocolViolation})
		}
	})
	for protocol, body := range map[string]string{
		"wamp.2.json": "", "wamp.2.cbor": "\x80", "wamp.2.msgpack": "\xc1",
		"wamp.2.json.batched": "[34,7,8]", "wamp.2.cbor.batched": "\x00\x00\x00\x05\x83\x18\x22\x07", "wamp.2.msgpack.batched": "\x00\x00\x00\x00",
	} {
		p := newPoller(t, s).open(protocol)
		if status, b := p.post("send", []byte(body)); status != http.StatusBadRequest {
			t.Errorf("%s: %q was answered by %d, %s", protocol, body, status, b)
		}
		if b := p.receive(); !strings.Contains(string(b), string(wamp.ErrURIProtocolViolation)) {
			t.Errorf("%s: then came %q", protocol, b)
		}
		if status, _ := p.post("receive", nil); status != http.StatusGone {
			t.Errorf("%s: the end is told as %d", protocol, status)
		}
	}
	for name, body := range map[string]io.Reader{
		"with a length": bytes.NewReader(make([]byte, 1025)),
		"in chunks":     io.LimitReader(endlessX{}, 1<<30),
	} {
		p := newPoller(t, s).open("wamp.2.cbor")
		resp, _ := p.do(t.Context(), http.MethodPost, "send", nil, body)
		if resp.StatusCode != http.StatusBadRequest && name == "with a length" {
			t.Errorf("a body over the limit, %s, was answered by %s", name, resp.Status)
		}
		if b := p.receive(); !strings.Contains(string(b), string(wamp.ErrURIProtocolViolation)) {
			t.Errorf("%s: then came %q", name, b)
		}
	}
	p := newPoller(t, s).open("wamp.2.json")
	for _, verb := range []string{"receive", "close"} {
		if resp, _ := p.do(t.Context(), http.MethodPost, verb, nil, strings.NewReader(strings.Repeat("x", 5000))); resp.StatusCode == http.StatusOK {
			t.Errorf("%s with a large body was answered by %s", verb, resp.Status)
		}
	}
}

type endlessX struct{}

func (endlessX) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'x'
	}
	return len(b), nil
}

func TestLongPollSessionsAreBounded(t *testing.T) {
	t.Parallel()
	s := pollServer(t, transport.ServerConfig{LongPoll: transport.LongPollConfig{MaxSessions: 2}}, func(_ context.Context, p wamp.Peer) {
		_, _ = p.Recv()
	})
	p := newPoller(t, s)
	first := p.open("wamp.2.json")
	p.open("wamp.2.json")
	if resp, _ := p.do(t.Context(), http.MethodPost, "open", nil, strings.NewReader(`{"protocols": ["wamp.2.json"]}`)); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("one session too many was answered by %s", resp.Status)
	}
	if status, _ := first.post("close", nil); status != http.StatusNoContent {
		t.Fatal(status)
	}
	p.open("wamp.2.json")
}

func TestALaterReceiveTakesOver(t *testing.T) {
	t.Parallel()
	s := pollServer(t, transport.ServerConfig{}, nil)
	p := newPoller(t, s).open("wamp.2.json")
	router := s.next(t)
	answers := make(chan string, 3)
	for range 3 {
		go func() {
			status, b := p.post("receive", nil)
			answers <- fmt.Sprint(status, " ", string(b))
		}()
	}
	// Two of the three are told; whichever came last gets the message.
	for range 2 {
		if got := <-answers; !strings.HasPrefix(got, "409 ") {
			t.Errorf("a receive request that was overtaken is answered by %s", got)
		}
	}
	if err := router.TrySend(&wamp.Published{Request: 1, Publication: 2}); err != nil {
		t.Fatal(err)
	}
	if got := <-answers; got != "200 [17,1,2]" {
		t.Errorf("the last one is answered by %s", got)
	}
}

// Sends wait for the receiver, one at a time and in order.
func TestLongPollSendsWaitForTheReceiver(t *testing.T) {
	t.Parallel()
	s := pollServer(t, transport.ServerConfig{}, nil)
	p := newPoller(t, s).open("wamp.2.json.batched")
	router := s.next(t)
	first, second := make(chan int, 1), make(chan int, 1)
	go func() {
		status, _ := p.post("send", []byte("[34,1,1]\x1e[34,2,1]\x1e"))
		first <- status
	}()
	for i := range 2 {
		m, err := router.Recv()
		if err != nil || m.(*wamp.Unsubscribe).Request != wamp.ID(i+1) {
			t.Fatal(m, err)
		}
		if i == 0 {
			go func() {
				status, _ := p.post("send", []byte("[34,3,1]\x1e"))
				second <- status
			}()
			select {
			case status := <-first:
				t.Fatalf("answered by %d before it was read", status)
			case status := <-second:
				t.Fatalf("overtaken by another, which was answered by %d", status)
			default:
			}
		}
	}
	if status := <-first; status != http.StatusNoContent {
		t.Errorf("the first send was answered by %d", status)
	}
	if m, err := router.Recv(); err != nil || m.(*wamp.Unsubscribe).Request != 3 {
		t.Fatal(m, err)
	}
	if status := <-second; status != http.StatusNoContent {
		t.Errorf("the second send was answered by %d", status)
	}
}

func TestLongPollQueueIsBounded(t *testing.T) {
	t.Parallel()
	opts := hasty
	opts.Queue = 10_000
	s := pollServer(t, transport.ServerConfig{Options: opts}, nil)
	for _, protocol := range []string{"wamp.2.cbor", "wamp.2.cbor.batched"} {
		p := newPoller(t, s).open(protocol)
		router := s.next(t)
		n := 0
		for ; n < 1000; n++ {
			err := router.TrySend(&wamp.Event{Subscription: 1, Publication: wamp.ID(n + 1), Payload: wamp.Args(strings.Repeat("x", 1000))})
			if errors.Is(err, wamp.ErrQueueFull) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if n < 8 || n > 10 {
			t.Errorf("%s: %d messages of 1000 bytes fit into 10000", protocol, n)
		}
		if err := router.TrySend(&wamp.Goodbye{Reason: wamp.CloseURIKilled}); err != nil {
			t.Errorf("there is no room for the last message: %v", err)
		}
		waiting := make(chan error, 1)
		go func() { waiting <- router.Send(t.Context(), &wamp.Published{Request: 1, Publication: 2}) }()
		for range 3 { // unbatched, a request makes room for one
			p.receive()
			if protocol != "wamp.2.cbor" {
				break
			}
		}
		if err := <-waiting; err != nil {
			t.Errorf("a send that waited for room: %v", err)
		}
		if err := router.TrySend(&wamp.Event{Subscription: 1, Publication: 1, Payload: wamp.Args(strings.Repeat("x", 1<<24))}); !errors.Is(err, wamp.ErrTooLarge) && !errors.Is(err, wamp.ErrQueueFull) {
			t.Errorf("a message of 16 MiB: %v", err)
		}
	}
}

func TestLongPollCloseDeliversWhatWaits(t *testing.T) {
	t.Parallel()
	s := pollServer(t, transport.ServerConfig{Options: transport.Options{Linger: wamptest.Deadline}}, nil)
	for _, f := range []wamp.Format{wamp.JSON, wamp.MsgPack, wamp.CBOR} {
		c, err := transport.Dial(t.Context(), "lp://"+s.addr, transport.DialConfig{Formats: []wamp.Format{f}})
		if err != nil {
			t.Fatal(err)
		}
		router := s.next(t)
		for range 100 {
			if err := router.TrySend(&wamp.Event{Subscription: 1, Publication: 1, Payload: wamp.Args(strings.Repeat("x", 3000))}); err != nil {
				t.Fatal(err)
			}
		}
		closed := make(chan struct{})
		go func() { defer close(closed); _ = router.Close() }()
		for i := range 100 {
			if _, err := c.Recv(); err != nil {
				t.Fatalf("message %d: %v", i, err)
			}
		}
		if _, err := c.Recv(); err != io.EOF {
			t.Errorf("the end is told as %v", err)
		}
		<-closed
		if err := router.TrySend(&wamp.Published{Request: 1, Publication: 1}); !errors.Is(err, wamp.ErrClosed) {
			t.Errorf("behind the end: %v", err)
		}
		_ = c.Close()
		if _, err := c.Recv(); !errors.Is(err, wamp.ErrClosed) {
			t.Errorf("a closed client receives %v", err)
		}
	}
}

func TestClosingALongPollClientFlushes(t *testing.T) {
	t.Parallel()
	s := pollServer(t, transport.ServerConfig{}, nil)
	c, err := transport.Dial(t.Context(), "lp://"+s.addr, transport.DialConfig{Options: transport.Options{Linger: wamptest.Deadline}})
	if err != nil {
		t.Fatal(err)
	}
	types, end := received(s.next(t))
	blocked := make(chan error, 1)
	go func() { _, err := c.Recv(); blocked <- err }()
	for range 50 {
		if err := c.TrySend(&wamp.Unsubscribe{Request: 1, Subscription: 1}); err != nil {
			t.Fatal(err)
		}
	}
	_ = c.Close()
	_ = c.Close()
	if err := <-blocked; !errors.Is(err, wamp.ErrClosed) && err != io.EOF {
		t.Errorf("a blocked receiver gets %v", err)
	}
	if err := <-end; err != io.EOF || len(types) != 50 {
		t.Errorf("%d messages arrived, then %v", len(types), err)
	}
}

func TestLongPollCarriesASession(t *testing.T) {
	t.Parallel()
	r, err := router.New(router.Config{Realms: []router.RealmConfig{{Name: "realm1"}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = r.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	s := serve(t, "tcp", transport.ServerConfig{}, r.Accept)
	join := func(url string, f wamp.Format) *client.Session {
		p, err := transport.Dial(t.Context(), url, transport.DialConfig{Formats: []wamp.Format{f}})
		if err != nil {
			t.Fatal(err)
		}
		session, err := client.Join(t.Context(), p, client.SessionConfig{Realm: "realm1"})
		if err != nil {
			t.Fatal(err)
		}
		return session
	}
	for _, f := range []wamp.Format{wamp.JSON, wamp.MsgPack, wamp.CBOR} {
		slow, fast := join("lp://"+s.addr, f), join("ws://"+s.addr, wamp.CBOR)
		if _, err := slow.Register(t.Context(), "double", wamp.RegisterOptions{}, func(_ context.Context, inv *wamp.Invocation, _ func(wamp.Payload) error) (wamp.Payload, error) {
			var n int64
			err := serialize.Arg(inv.Payload, 0, &n)
			return wamp.Args(2 * n), err
		}); err != nil {
			t.Fatal(err)
		}
		var calls sync.WaitGroup
		for i := range int64(50) {
			calls.Go(func() {
				var n int64
				res, err := fast.Call(t.Context(), "double", wamp.CallOptions{}, wamp.Args(i))
				if err = errors.Join(err, serialize.Arg(res, 0, &n)); err != nil || n != 2*i {
					t.Errorf("%s: double %d is %d, %v", f, i, n, err)
				}
			})
		}
		calls.Wait()
		if err := errors.Join(slow.Leave(t.Context()), fast.Leave(t.Context())); err != nil {
			t.Errorf("%s: leave: %v", f, err)
		}
	}
}

func TestLongPollOriginsAndHosts(t *testing.T) {
	t.Parallel()
	s := pollServer(t, transport.ServerConfig{Origins: []string{"https://dash.example"}, CheckHost: func(h string) bool { return h != "evil.example" }}, echo)
	p := newPoller(t, s)
	for _, c := range []struct {
		origin, host, method string
		status               int
		allowed              string
	}{
		{"", "", "POST", 200, ""},
		{"http://" + s.addr, "", "POST", 200, "http://" + s.addr},
		{"https://dash.example", "", "POST", 200, "https://dash.example"},
		{"https://dash.example", "", "OPTIONS", 204, "https://dash.example"},
		{"https://evil.example", "", "OPTIONS", 403, ""},
		{"https://evil.example", "", "POST", 403, ""},
		{"null", "", "POST", 403, ""},
		{"", "evil.example", "POST", 421, ""},
	} {
		h := http.Header{}
		if c.origin != "" {
			h.Set("Origin", c.origin)
		}
		if c.host != "" {
			h.Set("Host", c.host)
		}
		resp, _ := p.do(t.Context(), c.method, "open", h, strings.NewReader(`{"protocols": ["wamp.2.json"]}`))
		if got := resp.Header.Get("Access-Control-Allow-Origin"); resp.StatusCode != c.status || got != c.allowed {
			t.Errorf("%+v: answered by %s, allowed %q", c, resp.Status, got)
		}
		if got := resp.Header.Get("Access-Control-Allow-Credentials"); (got == "true") != (c.allowed == "https://dash.example") {
			t.Errorf("%+v: credentials %q", c, got)
		}
	}
}

func TestRefusalsOfLongPollAreCounted(t *testing.T) {
	t.Parallel()
	s := pollServer(t, transport.ServerConfig{LongPoll: transport.LongPollConfig{Wait: time.Millisecond, Idle: 20 * time.Millisecond}}, echo)
	p := newPoller(t, s)
	if status, _ := p.post("open", []byte("no JSON")); status != http.StatusBadRequest {
		t.Error(status)
	}
	if status, _ := p.post("open", []byte(`{"protocols": ["mqtt"]}`)); status != http.StatusBadRequest {
		t.Error(status)
	}
	if resp, _ := p.do(t.Context(), http.MethodPost, "open", http.Header{"Origin": {"https://elsewhere.example"}}, strings.NewReader("")); resp.StatusCode != http.StatusForbidden {
		t.Error(resp.Status)
	}
	p.open("wamp.2.json") // and no more requests
	until(t, "all are counted", func() bool {
		st := s.Stats()
		return st.Refused["bad_handshake"] == 3 && st.Refused["silent"] == 1
	})
}
