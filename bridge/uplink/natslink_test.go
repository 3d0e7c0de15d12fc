package uplink_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"gantry/bridge/uplink"
	"gantry/bridge/uplink/natslink"
	"gantry/internal/badline"
	"gantry/internal/natsd"
	"gantry/wamp"
	"gantry/wamp/serialize"
)

// natsWorld is a client at the server.
type natsWorld struct {
	t  *testing.T
	nc *nats.Conn
	js jetstream.JetStream
}

func newNatsWorld(t *testing.T, url string, options ...nats.Option) *natsWorld {
	t.Helper()
	nc, js := natsd.Connect(t, url, options...)
	return &natsWorld{t, nc, js}
}

// stream makes a stream of events, or changes it.
func (w *natsWorld) stream(cfg jetstream.StreamConfig) jetstream.Stream {
	w.t.Helper()
	cfg.Name = "all"
	if cfg.Subjects == nil {
		cfg.Subjects = []string{"gantry.*.point.>", "gantry.*.state.>", "gantry.*.alarm.>"}
	}
	s, err := w.js.CreateOrUpdateStream(w.t.Context(), cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// natsReading is a message of a stream.
type natsReading struct {
	Topic   string
	Value   int
	Seq     int
	Q       string
	Live    bool
	subject string
	id      string
}

func toReading(t *testing.T, subject string, h nats.Header, data []byte) natsReading {
	r := natsReading{subject: subject, id: h.Get("Nats-Msg-Id")}
	if err := json.Unmarshal(data, &r); err != nil {
		t.Errorf("%s: %s: %v", subject, data, err)
	}
	return r
}

// consume returns the first n readings in the stream all, or fails after two minutes.
func (w *natsWorld) consume(n int) (all []natsReading) {
	w.t.Helper()
	for _, m := range natsd.Messages(w.t, w.js, "all", "gantry.*.point.>", n) {
		all = append(all, toReading(w.t, m.Subject(), m.Headers(), m.Data()))
	}
	return all
}

func (w *natsWorld) request(subject, data string, header ...string) *nats.Msg {
	w.t.Helper()
	q := nats.NewMsg(subject)
	q.Data = []byte(data)
	for i := 0; i < len(header); i += 2 {
		q.Header.Set(header[i], header[i+1])
	}
	m, err := w.nc.RequestMsg(q, time.Minute)
	if err != nil {
		w.t.Fatalf("%s: %v", subject, err)
	}
	return m
}

func toNATS(url string, n uplink.NATS) func(*setup, *uplink.Commands) (uplink.Sink, error) {
	return func(s *setup, commands *uplink.Commands) (uplink.Sink, error) {
		return natslink.New(natslink.Config{URL: url, NATS: n, Stream: "g1/" + s.queue.ID(), Gateway: "g1", Commands: commands}, nil)
	}
}

var natsUplink = uplink.Config{Kind: "nats", URL: "nats://server"}

// offline waits until the link's state is offline for a reason.
func (s *setup) offline(why string) {
	s.t.Helper()
	for late := time.Now().Add(time.Minute); ; {
		reason, _ := s.up.Status()["reason"].(string)
		switch {
		case strings.Contains(reason, why):
			return
		case time.Now().After(late):
			s.t.Fatalf("offline because of %q, want %q", reason, why)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestNATS is the whole way: a stream that is made, events in it, calls and what
// discovers them.
func TestNATS(t *testing.T) {
	t.Parallel()
	server := natsd.NewServer(t)
	cfg := natsUplink
	cfg.NATS = uplink.NATS{Stream: "all", Create: true, MaxBytes: 1 << 20, MaxAge: time.Hour, Duplicates: time.Minute, OnFull: "reject-new"}
	s := newSetupOf(t, t.TempDir(), cfg, toNATS(server.URL(), cfg.WithDefaults().NATS))
	defer s.stop()
	calls := s.serve("gantry.g1.set.dev.valve")
	s.publish("temp", 1, 500)
	w := newNatsWorld(t, server.URL())
	s.connected()
	for i, r := range w.consume(500) {
		if r.subject != "gantry.g1.point.dev.temp" || r.Topic != r.subject || r.Value != i+1 || r.Seq != i+1 || r.Q != "good" || !strings.HasPrefix(r.id, "g1/"+s.queue.ID()+"/") {
			t.Fatalf("%d: %+v", i, r)
		}
	}
	st, err := w.js.Stream(t.Context(), "all")
	if err != nil {
		t.Fatal(err)
	}
	if c := st.CachedInfo().Config; c.MaxBytes != 1<<20 || c.MaxAge != time.Hour || c.Duplicates != time.Minute || c.Discard != jetstream.DiscardNew || c.Storage != jetstream.FileStorage ||
		fmt.Sprint(c.Subjects) != "[gantry.*.point.> gantry.*.state.> gantry.*.alarm.>]" {
		t.Errorf("%+v", c)
	}
	// Calls.
	for _, data := range []string{"12", `{"args":[12]}`} {
		if m := w.request("gantry.g1.set.dev.valve", data); string(m.Data) != "12" || len(m.Header) != 0 {
			t.Errorf("%s %v", m.Data, m.Header)
		}
	}
	m := w.request("gantry.g1.set.dev.valve", "13")
	if string(m.Data) != `{"error":"gantry.error.out_of_range","args":["not 13"],"kwargs":{"max":12}}` ||
		m.Header.Get("Nats-Service-Error") != "gantry.error.out_of_range: not 13" || m.Header.Get("Nats-Service-Error-Code") != "400" || m.Header.Get("Gantry-Error") != "gantry.error.out_of_range" {
		t.Errorf("%s %v", m.Data, m.Header)
	}
	for subject, want := range map[string]string{"gantry.g1.get.dev.nothing": "404", "gantry.g1.get.%zz.x": "400"} {
		if m = w.request(subject, ""); m.Header.Get("Nats-Service-Error-Code") != want {
			t.Errorf("%s: %s %v", subject, m.Data, m.Header)
		}
	}
	if _, err := w.nc.Request("gantry.g1.sys.config.reload", nil, time.Minute); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("what is not served: %v", err)
	}
	if len(calls) != 3 {
		t.Errorf("%d calls", len(calls))
	}
	// Discovery.
	for verb, want := range map[string]string{"PING": `"name":"gantry_g1"`, "INFO": `"subject":"gantry.g1.do.\u003e"`, "STATS": `"data":{"failed":3,"ignored":0,"running":0}`} {
		if m := w.request("$SRV."+verb+".gantry_g1", ""); !strings.Contains(string(m.Data), want) {
			t.Errorf("%s: %s", verb, m.Data)
		}
	}
}

// connected waits for a connection.
func (s *setup) connected() {
	s.t.Helper()
	for late := time.Now().Add(time.Minute); s.up.Status()["connected"] != true; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(late) {
			s.t.Fatalf("no connection: %v", s.up.Status()["reason"])
		}
	}
}

// TestNATSOverABadLine cuts the connection, and kills the server, again and again. What
// a subscriber sees twice, as its acknowledgement was lost, the stream has once.
func TestNATSOverABadLine(t *testing.T) {
	t.Parallel()
	server := natsd.NewServer(t)
	w := newNatsWorld(t, server.URL())
	w.stream(jetstream.StreamConfig{})
	seen := make(chan natsReading, 100_000)
	if _, err := w.nc.Subscribe("gantry.g1.point.>", func(m *nats.Msg) { seen <- toReading(t, m.Subject, m.Header, m.Data) }); err != nil {
		t.Fatal(err)
	}
	p := badline.New(t, server.Addr, 0)
	s := newSetupOf(t, t.TempDir(), natsUplink, toNATS("nats://"+p.Addr(), uplink.NATS{}))
	defer s.stop()
	const rounds, n = 3, 600
	for round := range rounds {
		for i := range n / 60 {
			s.publish("temp", round*n+i*60+1, round*n+(i+1)*60)
			s.publish("power", round*n+i*60+1, round*n+(i+1)*60)
			switch {
			case i != n/120:
			case round == 1:
				server.Kill()
				server.Start()
			default:
				p.Cut()
			}
		}
		w.consume(2 * (round*n + n/2))
	}
	marks, ids := map[string]int{}, map[string]bool{}
	for i, r := range w.consume(2 * rounds * n) {
		if r.Live || r.Value != marks[r.subject]+1 || ids[r.id] {
			t.Fatalf("%d: %+v after %d", i, r, marks[r.subject])
		}
		marks[r.subject], ids[r.id] = r.Value, true
	}
	if p.Made.Load() < rounds {
		t.Errorf("%d connections only", p.Made.Load())
	}
	t.Logf("%d readings in the stream, %d at a subscriber, over %d connections", len(ids), len(seen), p.Made.Load())
}

// TestNATSKnowsAnEventAgain sends the same events over two connections, as after a lost
// acknowledgement.
func TestNATSKnowsAnEventAgain(t *testing.T) {
	t.Parallel()
	server := natsd.NewServer(t)
	w := newNatsWorld(t, server.URL())
	stream := w.stream(jetstream.StreamConfig{})
	for range 2 {
		c := natsConn(t, natslink.Config{URL: server.URL()})
		send(t, c, natsEvents("gantry.g1.point.dev.temp", 10)...)
		c.Close()
	}
	info, err := stream.Info(t.Context())
	if err != nil || info.State.Msgs != 10 {
		t.Errorf("%+v %v", info, err)
	}
}

// natsConn connects a sink without an uplink.
func natsConn(t *testing.T, cfg natslink.Config) uplink.Conn {
	t.Helper()
	c, err := natsConnect(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func natsConnect(t *testing.T, cfg natslink.Config) (uplink.Conn, error) {
	t.Helper()
	cfg.Gateway, cfg.Stream, cfg.Commands = "g1", "g1/queue", uplink.NewCommands("g1", nil, nil)
	sink, err := natslink.New(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return sink.Connect(ctx)
}

func natsEvents(topic wamp.URI, n int) (events []uplink.Event) {
	for i := 1; i <= n; i++ {
		p, err := serialize.Encode(wamp.CBOR, wamp.Values(wamp.List{int64(i)}, wamp.Dict{"seq": int64(i)}))
		if err != nil {
			panic(err)
		}
		events = append(events, uplink.Event{Topic: topic, Epoch: 1, Seq: uint64(i), Payload: p})
	}
	return events
}

// send sends events and returns the answers, by index; events of a connection that
// ends have none.
func send(t *testing.T, c uplink.Conn, events ...uplink.Event) []error {
	t.Helper()
	answers := make([]error, len(events))
	done := make(chan struct{}, len(events))
	err := c.Send(t.Context(), events, func(i int, err error) { answers[i] = err; done <- struct{}{} })
	if err != nil && c.Err() == nil {
		t.Fatal(err)
	}
	late := time.After(time.Minute)
	for range events {
		select {
		case <-done:
		case <-c.Done():
			return answers
		case <-late:
			t.Fatal("no answer")
		}
	}
	return answers
}

// TestNATSHoldsWhatAStreamDoesNotTake has no stream, and then one that is full.
func TestNATSHoldsWhatAStreamDoesNotTake(t *testing.T) {
	t.Parallel()
	server := natsd.NewServer(t)
	w := newNatsWorld(t, server.URL())
	s := newSetupOf(t, t.TempDir(), uplink.Config{Kind: "nats", URL: "nats://server", Forward: []string{"point"}}, toNATS(server.URL(), uplink.NATS{}))
	defer s.stop()
	s.publish("temp", 1, 20)
	s.offline("no stream keeps gantry.g1.point.dev.temp: create one")
	w.stream(jetstream.StreamConfig{MaxMsgs: 10, Discard: jetstream.DiscardNew, Duplicates: 100 * time.Millisecond})
	s.offline("the stream does not take gantry.g1.point.dev.temp now: maximum messages exceeded (10077)")
	if first := w.consume(10); first[9].Value != 10 {
		t.Errorf("%+v", first)
	}
	w.stream(jetstream.StreamConfig{MaxMsgs: 1000, Discard: jetstream.DiscardNew, Duplicates: 100 * time.Millisecond})
	for i, r := range w.consume(20) {
		if r.Value != i+1 {
			t.Errorf("%d: %+v", i, r)
		}
	}
	if n := s.dead.Counters()["appended"]; n != 0 {
		t.Errorf("%d dead letters", n)
	}
}

// TestNATSRefuses has events that no server, stream or user will ever take.
func TestNATSRefuses(t *testing.T) {
	t.Parallel()
	server := natsd.NewServer(t, "max_payload: 4096", `authorization { users = [
		{ user: root, password: r }
		{ user: gw, password: g, permissions: { publish: ["gantry.g1.point.dev.temp"], subscribe: ["_INBOX.>"] } }
		{ user: mute, password: m, permissions: { publish: [">"], subscribe: ["x"] } } ] }`)
	w := newNatsWorld(t, server.URL(), nats.UserInfo("root", "r"))
	w.stream(jetstream.StreamConfig{MaxMsgSize: 512})
	c := natsConn(t, natslink.Config{URL: server.URL(), User: "gw", Password: secret("g")})
	defer c.Close()
	sized := func(topic wamp.URI, n int) uplink.Event {
		return uplink.Event{Topic: topic, Epoch: 1, Seq: uint64(n), Payload: wamp.Values(wamp.List{strings.Repeat("x", n)}, nil)}
	}
	answers := send(t, c, sized("gantry.g1.point.dev.temp", 1), sized("gantry.g1.point.dev.temp", 5000), sized("gantry.g1.point.dev.temp", 1000), sized("gantry.g1.point.dev.secret", 1), sized("gantry.g1.point.dev.temp", 2))
	for i, want := range []string{"", "maximum payload exceeded: 50", "message size exceeds maximum allowed (10054)", "permissions violation", ""} {
		var refusal *uplink.Refusal
		if err := answers[i]; want == "" && err != nil || want != "" && (!errors.As(err, &refusal) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%d: %v, want %q", i, err, want)
		}
	}
	mute := natsConn(t, natslink.Config{URL: server.URL(), User: "mute", Password: secret("m")})
	defer mute.Close()
	send(t, mute, sized("gantry.g1.point.dev.temp", 3))
	if err := mute.Err(); err == nil || !strings.Contains(err.Error(), "subscribe to _INBOX.>") {
		t.Error(err)
	}
	if _, err := natsConnect(t, natslink.Config{URL: server.URL(), User: "gw", Password: secret("wrong")}); !errors.Is(err, nats.ErrAuthorization) {
		t.Error(err)
	}
}

type secret string

func (s secret) Reveal() (string, error) { return string(s), nil }

// TestNATSLiveCopies are for subscribers; no stream keeps them.
func TestNATSLiveCopies(t *testing.T) {
	t.Parallel()
	server := natsd.NewServer(t)
	w := newNatsWorld(t, server.URL())
	stream := w.stream(jetstream.StreamConfig{})
	sub, err := w.nc.SubscribeSync("gantry.g1.point.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	c := natsConn(t, natslink.Config{URL: server.URL()})
	defer c.Close()
	live := natsEvents("gantry.g1.point.dev.temp", 3)
	for i := range live {
		live[i].Live = true
	}
	if answers := send(t, c, live...); !slices.Equal(answers, make([]error, 3)) {
		t.Error(answers)
	}
	send(t, c, natsEvents("gantry.g1.point.dev.temp", 1)...)
	for i := range 4 {
		m, err := sub.NextMsg(time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if id := m.Header.Get("Nats-Msg-Id"); (id == "") != (i < 3) {
			t.Errorf("%d: %v", i, m.Header)
		}
	}
	info, err := stream.Info(t.Context())
	if err != nil || info.State.Msgs != 1 {
		t.Errorf("%+v %v", info, err)
	}
}

// TestNATSTellsOfTheQueue has a subscriber that learns how much waits, and a stream that
// does not keep it.
func TestNATSTellsOfTheQueue(t *testing.T) {
	t.Parallel()
	server := natsd.NewServer(t)
	w := newNatsWorld(t, server.URL())
	stream := w.stream(jetstream.StreamConfig{})
	const subject = "gantry.g1.state.uplink_hq.queue"
	sub, err := w.nc.SubscribeSync(subject)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	s := newSetupOf(t, t.TempDir(), natsUplink, toNATS(server.URL(), uplink.NATS{}))
	defer s.stop()
	m, err := sub.NextMsg(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if r := toReading(t, m.Subject, m.Header, m.Data); r.Topic != subject || !r.Live || r.Seq != 0 || r.id != "" {
		t.Errorf("%s %v", m.Data, m.Header)
	}
	s.publish("temp", 1, 1)
	w.consume(1)
	if m, err := stream.GetLastMsgForSubject(t.Context(), subject); !errors.Is(err, jetstream.ErrMsgNotFound) {
		t.Errorf("%+v, %v", m, err)
	}
}

// TestNATSSubjects has topics with what subjects cannot hold.
func TestNATSSubjects(t *testing.T) {
	t.Parallel()
	server := natsd.NewServer(t)
	w := newNatsWorld(t, server.URL())
	w.stream(jetstream.StreamConfig{})
	c := natsConn(t, natslink.Config{URL: server.URL()})
	defer c.Close()
	want := map[wamp.URI]string{"gantry.g1.point.*.>": "gantry.g1.point.%2A.%3E", "gantry.g1.point.a%b.ü": "gantry.g1.point.a%25b.ü", `gantry.g1.point.a"b.\c`: `gantry.g1.point.a"b.\c`}
	n := uint64(1)
	for topic := range want {
		e := natsEvents(topic, 1)[0]
		e.Seq = n
		n++
		if answers := send(t, c, e); answers[0] != nil {
			t.Errorf("%s: %v", topic, answers[0])
		}
	}
	for _, r := range w.consume(len(want)) {
		if want[wamp.URI(r.Topic)] != r.subject {
			t.Errorf("%+v", r)
		}
	}
}

// TestNATSStreamsDoNotCall has messages on the subjects of calls that are no requests:
// stored ones, handed out or published again, and ones that ask for no answer.
func TestNATSStreamsDoNotCall(t *testing.T) {
	t.Parallel()
	server := natsd.NewServer(t)
	w := newNatsWorld(t, server.URL())
	for _, cfg := range []jetstream.StreamConfig{
		{Name: "calls", Subjects: []string{"gantry.g1.set.stored.>"}},
		{Name: "orders", Subjects: []string{"orders.>"}, RePublish: &jetstream.RePublish{Source: "orders.>", Destination: "gantry.g1.set.>"}},
	} {
		if _, err := w.js.CreateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.js.Publish(t.Context(), "gantry.g1.set.stored.valve", []byte("1")); err != nil {
		t.Fatal(err)
	}
	w.stream(jetstream.StreamConfig{})
	s := newSetupOf(t, t.TempDir(), natsUplink, toNATS(server.URL(), uplink.NATS{}))
	defer s.stop()
	calls := s.serve("gantry.g1.set.dev.valve")
	stored := s.serve("gantry.g1.set.stored.valve")
	s.connected()
	// A consumer hands out to a subject that somebody subscribes to exactly.
	if _, err := w.nc.SubscribeSync("gantry.g1.set.dev.valve"); err != nil {
		t.Fatal(err)
	}
	if err := w.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.js.CreatePushConsumer(t.Context(), "calls", jetstream.ConsumerConfig{
		DeliverSubject: "gantry.g1.set.dev.valve", AckPolicy: jetstream.AckExplicitPolicy,
	}); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*nats.Msg{
		{Subject: "gantry.g1.set.dev.valve", Data: []byte("3"), Reply: "x.y", Header: nats.Header{"Nats-Stream": {"orders"}}},
		{Subject: "gantry.g1.set.dev.valve", Data: []byte("4")},
	} {
		if err := w.nc.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.js.Publish(t.Context(), "orders.dev.valve", []byte("5")); err != nil {
		t.Fatal(err)
	}
	for late := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		m := w.request("$SRV.STATS.gantry_g1", "")
		if strings.Contains(string(m.Data), `"ignored":4`) {
			break
		}
		if time.Now().After(late) {
			t.Fatalf("%s", m.Data)
		}
	}
	if len(calls)+len(stored) != 0 {
		t.Errorf("%d and %d calls", len(calls), len(stored))
	}
}

// TestNATSCallsEnd by their deadline, by the connection, and in any order.
func TestNATSCallsEnd(t *testing.T) {
	t.Parallel()
	server := natsd.NewServer(t)
	w := newNatsWorld(t, server.URL())
	w.stream(jetstream.StreamConfig{})
	s := newSetupOf(t, t.TempDir(), natsUplink, toNATS(server.URL(), uplink.NATS{}))
	begun, ended := make(chan struct{}, 10), make(chan struct{}, 10)
	if _, err := s.hub.Register(t.Context(), "gantry.g1.do.dev.wait", wamp.RegisterOptions{}, func(ctx context.Context, _ *wamp.Invocation, _ func(wamp.Payload) error) (wamp.Payload, error) {
		begun <- struct{}{}
		<-ctx.Done()
		ended <- struct{}{}
		return wamp.Payload{}, ctx.Err()
	}); err != nil {
		t.Fatal(err)
	}
	s.serve("gantry.g1.do.dev.quick")
	s.connected()
	if m := w.request("gantry.g1.do.dev.wait", "", "Gantry-Timeout", "50ms"); m.Header.Get("Nats-Service-Error-Code") != "504" {
		t.Errorf("%s %v", m.Data, m.Header)
	}
	<-begun
	<-ended
	if m := w.request("gantry.g1.do.dev.wait", "", "Gantry-Timeout", "soon"); m.Header.Get("Gantry-Error") != "wamp.error.invalid_argument" {
		t.Errorf("%s %v", m.Data, m.Header)
	}
	inbox := nats.NewInbox()
	answers, err := w.nc.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.nc.PublishRequest("gantry.g1.do.dev.wait", inbox, nil); err != nil {
		t.Fatal(err)
	}
	<-begun
	if m := w.request("gantry.g1.do.dev.quick", "1"); string(m.Data) != "1" {
		t.Errorf("%s %v", m.Data, m.Header)
	}
	s.stop()
	m, err := answers.NextMsg(time.Minute)
	if err != nil || m.Header.Get("Gantry-Error") != "wamp.error.canceled" {
		t.Errorf("%+v %v", m, err)
	}
	<-ended
}

// TestHalfOpenNATSIsNoticed has a way on which everything vanishes without a word,
// while there is nothing to send and while there is.
func TestHalfOpenNATSIsNoticed(t *testing.T) {
	t.Parallel()
	for name, busy := range map[string]bool{"idle": false, "sending": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := natsd.NewServer(t)
			w := newNatsWorld(t, server.URL())
			w.stream(jetstream.StreamConfig{})
			p := badline.New(t, server.Addr, 0)
			s := newSetupOf(t, t.TempDir(), natsUplink, toNATS("nats://"+p.Addr(), uplink.NATS{}))
			defer s.stop()
			s.publish("temp", 1, 1)
			w.consume(1)
			p.Hole.Store(true)
			began := time.Now()
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			for i := 2; s.up.Status()["connected"] == true; i++ {
				if busy {
					s.publish("temp", i, i)
				}
				<-tick.C
				if time.Since(began) > time.Minute {
					t.Fatal("not noticed within a minute")
				}
			}
			took := time.Since(began)
			t.Logf("noticed after %.1f s: %v", took.Seconds(), s.up.Status()["reason"])
			if took > 15*time.Second {
				t.Errorf("noticed after %v, the limit is 15 s", took)
			}
		})
	}
}
