package uplink_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"gantry/bridge/uplink"
	"gantry/bridge/uplink/httplink"
	"gantry/wamp"
	"gantry/wamp/serialize"
)

// inbox is a web server that takes batches and refuses the value 13.
type inbox struct {
	mu     sync.Mutex
	values []int
	keys   map[string]int
	down   bool
	more   chan struct{} // capacity 1
}

func (b *inbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.down {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if r.Method != http.MethodPost {
		return
	}
	var batch []struct {
		Value int
		Live  bool
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || json.Unmarshal(body, &batch) != nil {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	for _, e := range batch {
		if e.Value == 13 {
			w.WriteHeader(http.StatusUnprocessableEntity)
			return
		}
	}
	key := r.Header.Get("Idempotency-Key")
	if len(batch) > 0 && batch[0].Live { // live values go by themselves
		key = "live" + key
	} else {
		for _, e := range batch {
			b.values = append(b.values, e.Value)
		}
	}
	b.keys[key]++
	select {
	case b.more <- struct{}{}:
	default:
	}
}

func (b *inbox) wait(t *testing.T, n int) []int {
	t.Helper()
	late := time.After(time.Minute)
	for {
		b.mu.Lock()
		values := append([]int(nil), b.values...)
		b.mu.Unlock()
		if len(values) >= n {
			return values
		}
		select {
		case <-b.more:
		case <-late:
			t.Fatalf("%d of %d", len(values), n)
		}
	}
}

func TestHTTPBatches(t *testing.T) {
	t.Parallel()
	b := &inbox{keys: map[string]int{}, more: make(chan struct{}, 1)}
	server := httptest.NewServer(b)
	defer server.Close()
	s := newSetupOf(t, t.TempDir(), uplink.Config{Kind: "http", URL: server.URL, Forward: []string{"point"}}, func(s *setup, _ *uplink.Commands) (uplink.Sink, error) {
		return httplink.New(httplink.Config{URL: server.URL, Stream: s.queue.ID()}, nil)
	})
	defer s.stop()
	if err := uplink.ServeDeadLetters(t.Context(), s.own, "g1", []*uplink.Uplink{s.up}); err != nil {
		t.Fatal(err)
	}
	s.publish("temp", 1, 500)
	next := 0
	for _, v := range b.wait(t, 499) {
		if next++; next == 13 {
			next++
		}
		if v != next {
			t.Fatalf("%d in place of %d", v, next)
		}
	}
	b.mu.Lock()
	b.down = true
	b.mu.Unlock()
	s.publish("temp", 501, 600)
	b.mu.Lock()
	b.down = false
	b.mu.Unlock()
	if all := b.wait(t, 599); all[598] != 600 {
		t.Errorf("the last is %d", all[598])
	}
	b.mu.Lock()
	for key := range b.keys {
		if live, ok := strings.CutPrefix(key, "live"); ok == (live != "") {
			t.Errorf("a batch has the key %q", key) // live values are sent once only
		}
	}
	if len(b.keys) < 2 {
		t.Errorf("%d keys", len(b.keys))
	}
	b.mu.Unlock()
	deadLetters(t, s)
}

// TestHTTPTellsOfTheQueue has it in a batch of its own, which is sent once only.
func TestHTTPTellsOfTheQueue(t *testing.T) {
	t.Parallel()
	told := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || !strings.Contains(string(body), `"gantry.g1.state.uplink_hq.queue"`) {
			return
		}
		select {
		case told <- r.Header.Get("Idempotency-Key") + string(body):
		default:
		}
	}))
	defer server.Close()
	s := newSetupOf(t, t.TempDir(), uplink.Config{Kind: "http", URL: server.URL, Forward: []string{"state"}}, func(s *setup, _ *uplink.Commands) (uplink.Sink, error) {
		return httplink.New(httplink.Config{URL: server.URL, Stream: s.queue.ID()}, nil)
	})
	defer s.stop()
	select {
	case text := <-told:
		var batch []struct {
			Value int64
			Live  bool
		}
		if err := json.Unmarshal([]byte(text), &batch); err != nil || len(batch) != 1 || !batch[0].Live {
			t.Errorf("%s: %v", text, err)
		}
	case <-time.After(time.Minute):
		t.Fatal("nothing is told")
	}
}

// deadLetters looks at the one dead letter, with the value 13, and sends it again.
func deadLetters(t *testing.T, s *setup) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for s.dead.Counters()["appended"] == 0 {
		if err := s.dead.Read(ctx, 0, 1, func(uint64, uint64, []byte, uint64) {}); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(verb string, kwargs wamp.Dict) any {
		p, err := s.hub.Call(ctx, uplink.DeadProcedure("g1", verb), wamp.CallOptions{}, wamp.Values(nil, kwargs))
		if err != nil {
			t.Fatal(err)
		}
		args, _, err := serialize.Values(p)
		if err != nil || len(args) != 1 {
			t.Fatal(args, err)
		}
		return args[0]
	}
	list, _ := ask("dead", wamp.Dict{"uplink": "hq"}).(wamp.List)
	if len(list) != 1 {
		t.Fatal(list)
	}
	d, _ := list[0].(wamp.Dict)
	args, _ := d["args"].(wamp.List)
	if d["topic"] != "gantry.g1.point.dev.temp" || d["tries"] != int64(5) || len(args) != 1 || args[0] != int64(13) {
		t.Errorf("%v", d)
	}
	if n := ask("resend", wamp.Dict{"uplink": "hq", "up_to": int64(1)}); n != int64(1) {
		t.Errorf("%v sent again", n)
	}
	// It is refused again, five times.
	if err := s.dead.Read(ctx, 1, 1, func(uint64, uint64, []byte, uint64) {}); err != nil {
		t.Fatal(err)
	}
	if n := ask("drop", wamp.Dict{"uplink": "hq", "up_to": int64(2)}); n != int64(1) {
		t.Errorf("%v dropped", n)
	}
	if _, err := s.hub.Call(ctx, uplink.DeadProcedure("g1", "drop"), wamp.CallOptions{}, wamp.Values(nil, wamp.Dict{"uplink": "hq", "up_to": int64(9)})); err == nil {
		t.Error("dropped what is not there")
	}
}
