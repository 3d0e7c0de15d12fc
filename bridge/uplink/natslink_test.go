package uplink_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"gantry/bridge/uplink"
	"gantry/bridge/uplink/natslink"
	"gantry/internal/natsd"
)

// natsWorld is a client at the server.
type natsWorld struct {
	t  *testing.T
	nc *nats.Conn
	js jetstream.JetStream
}

func newNatsWorld(t *testing.T, url string, options ...nats.Option) *natsWorld {
	t.Helper()
	nc, err := nats.Connect(url, append([]nats.Option{nats.MaxReconnects(-1), nats.ReconnectWait(50 * time.Millisecond)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	nc.SetClosedHandler(func(*nats.Conn) { close(gone) })
	t.Cleanup(func() { nc.Close(); <-gone })
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return &natsWorld{t, nc, js}
}

// natsReading is a message of a stream.
type natsReading struct {
	Topic   string
	Value   int
	Seq     int
	Q       string
	Live    bool
	Replay  bool
	subject string
	id      string
}

// consume returns the first n readings of a stream that are not live, or fails after a
// minute.
func (w *natsWorld) consume(stream string, n int) (all []natsReading) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	for all == nil || len(all) < n {
		all = w.stored(ctx, stream)
		if ctx.Err() != nil {
			w.t.Fatalf("%d of %d", len(all), n)
		}
	}
	return all
}

// stored returns all readings in a stream, once there is another than the last time or
// a while has passed.
func (w *natsWorld) stored(ctx context.Context, stream string) (all []natsReading) {
	w.t.Helper()
	all = []natsReading{}
	c, err := w.js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return all
	}
	for {
		m, err := c.Next(jetstream.FetchMaxWait(500 * time.Millisecond))
		if err != nil {
			return all
		}
		if !strings.Contains(m.Subject(), ".point.") {
			continue
		}
		r := natsReading{subject: m.Subject(), id: m.Headers().Get("Nats-Msg-Id")}
		if err := json.Unmarshal(m.Data(), &r); err != nil {
			w.t.Fatalf("%s: %v", m.Data(), err)
		}
		all = append(all, r)
	}
}

func toNATS(url string, cfg natslink.Config) func(*setup, *uplink.Commands) (uplink.Sink, error) {
	return func(s *setup, commands *uplink.Commands) (uplink.Sink, error) {
		if cfg.URL = url; cfg.Stream == "" {
			cfg.Stream = "g1/" + s.queue.ID()
		}
		cfg.Gateway, cfg.Commands = "g1", commands
		return natslink.New(cfg, nil)
	}
}

var natsUplink = uplink.Config{Kind: "nats", URL: "nats://server"}

// TestNATS is the whole way: a stream that is made, events in it, a call and what
// discovers it.
func TestNATS(t *testing.T) {
	t.Parallel()
	server := natsd.NewServer(t)
	cfg := natsUplink
	cfg.NATS = uplink.NATS{Stream: "gateways", Create: true, MaxBytes: 1 << 20, MaxAge: time.Hour, Duplicates: time.Minute}
	s := newSetupOf(t, t.TempDir(), cfg, toNATS(server.URL(), natslink.Config{NATS: cfg.WithDefaults().NATS}))
	defer s.stop()
	calls := s.serve("gantry.g1.set.dev.valve")
	s.publish("temp", 1, 500)
	w := newNatsWorld(t, server.URL())
	for i, r := range w.consume("gateways", 500) {
		if r.subject != "gantry.g1.point.dev.temp" || r.Topic != r.subject || r.Value != i+1 || r.Seq != i+1 || r.Q != "good" || !strings.HasPrefix(r.id, "g1/"+s.queue.ID()+"/") {
			t.Fatalf("%d: %+v", i, r)
		}
	}
	st, err := w.js.Stream(t.Context(), "gateways")
	if err != nil {
		t.Fatal(err)
	}
	if c := st.CachedInfo().Config; c.MaxBytes != 1<<20 || c.MaxAge != time.Hour || c.Duplicates != time.Minute || fmt.Sprint(c.Subjects) != "[gantry.*.point.> gantry.*.state.> gantry.*.alarm.>]" {
		t.Errorf("%+v", c)
	}
	// Calls.
	m := w.request("gantry.g1.set.dev.valve", "12")
	if string(m.Data) != "12" || len(m.Header) != 0 {
		t.Errorf("%s %v", m.Data, m.Header)
	}
	m = w.request("gantry.g1.set.dev.valve", "13")
	if string(m.Data) != `{"error":"gantry.error.out_of_range","args":["not 13"],"kwargs":{"max":12}}` ||
		m.Header.Get("Nats-Service-Error") != "gantry.error.out_of_range: not 13" || m.Header.Get("Nats-Service-Error-Code") != "400" || m.Header.Get("Gantry-Error") != "gantry.error.out_of_range" {
		t.Errorf("%s %v", m.Data, m.Header)
	}
	if m = w.request("gantry.g1.get.dev.nothing", ""); m.Header.Get("Nats-Service-Error-Code") != "404" {
		t.Errorf("%s %v", m.Data, m.Header)
	}
	if _, err := w.nc.Request("gantry.g1.sys.config.reload", nil, time.Second); err == nil {
		t.Error("what is not served was called")
	}
	if len(calls) != 2 {
		t.Errorf("%d calls", len(calls))
	}
	// Discovery.
	for verb, want := range map[string]string{"PING": `"name":"gantry_g1"`, "INFO": `"subject":"gantry.g1.do.\u003e"`, "STATS": `"data":{"failed":2,"ignored":0,"running":0}`} {
		if m := w.request("$SRV."+verb+".gantry_g1", ""); !strings.Contains(string(m.Data), want) {
			t.Errorf("%s: %s", verb, m.Data)
		}
	}
}

func (w *natsWorld) request(subject, data string) *nats.Msg {
	w.t.Helper()
	m, err := w.nc.Request(subject, []byte(data), time.Minute)
	if err != nil {
		w.t.Fatalf("%s: %v", subject, err)
	}
	return m
}
