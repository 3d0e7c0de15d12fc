package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gantry/bridge/uplink"
	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/serialize"
)

// webEvent is an event as an uplink posts it to a web server.
type webEvent struct {
	Topic  string
	Value  any
	Ep     int64
	Seq    int64
	Live   bool
	Replay bool
}

// mailbox is a web server that keeps what is posted, each event once, while it is open.
type mailbox struct {
	open atomic.Bool

	mu    sync.Mutex
	marks map[string][2]int64
	all   []webEvent
	times int // events that came again
}

func (m *mailbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var batch []webEvent
	if !m.open.Load() {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if r.Method != http.MethodPost || json.NewDecoder(r.Body).Decode(&batch) != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range batch {
		switch at := m.marks[e.Topic]; {
		case e.Live:
		case e.Ep < at[0] || e.Ep == at[0] && e.Seq <= at[1]:
			m.times++
		default:
			m.marks[e.Topic] = [2]int64{e.Ep, e.Seq}
			m.all = append(m.all, e)
		}
	}
}

func (m *mailbox) events() []webEvent {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]webEvent(nil), m.all...)
}

// statusOf asks for the state of an uplink until ok, and returns it.
func statusOf(t *testing.T, s *client.Session, name string, ok func(wamp.Dict) bool) (d wamp.Dict) {
	t.Helper()
	for late := time.Now().Add(patience); ; {
		p, err := s.Call(t.Context(), uplink.StatusProcedure("field"), wamp.CallOptions{}, wamp.Args(name))
		if err == nil {
			d = nil
			err = serialize.Arg(p, 0, &d)
		}
		if err != nil {
			t.Fatal(err)
		}
		if ok(d) {
			return d
		}
		if time.Now().After(late) {
			t.Fatalf("uplink %s: %v", name, d)
		}
	}
}

// TestTwoUplinksShareOneQueue has a router that is there and a web server that is not:
// a reading is on disk once, for the one that is away, also over a kill; in the end both
// have everything, in order, and the alarm that came last was the first at the web server.
func TestTwoUplinksShareOneQueue(t *testing.T) {
	t.Parallel()
	box := &mailbox{marks: map[string][2]int64{}}
	web := httptest.NewServer(box)
	defer web.Close()
	hqState, state := t.TempDir(), t.TempDir()
	hq := startProgram(t, writeFiles(t, map[string]string{"gantry.toml": hqConfig}), hqState)
	defer hq.stop()
	arrived := keep(t, hq.join(), "gantry.field.", wamp.SubscribeOptions{})
	config := writeFiles(t, map[string]string{"gantry.toml": fieldMap + fmt.Sprintf(`[uplink.hq]
url = "rs+unix://%s"
forward = ["point", "alarm"]
[uplink.mirror]
kind = "http"
url = "%s"
queue = "hq"
`, filepath.Join(hqState, "gantry.sock"), web.URL)})

	const n = 3000
	field := startProgram(t, config, state)
	s := field.join()
	load(t.Context(), t, field.mqtt, 0, n, 0)
	statusOf(t, s, "hq", func(d wamp.Dict) bool { return number(t, d, "appended") == n && number(t, d, "depth") == 0 })
	there := statusOf(t, s, "mirror", func(d wamp.Dict) bool { return number(t, d, "committed") == n })
	if depth := number(t, there, "depth"); depth != n {
		t.Errorf("%d events wait for the web server", depth)
	}
	perReading := float64(number(t, there, "bytes")) / n
	t.Logf("%.0f bytes on disk for each reading", perReading)
	if perReading > 450 {
		t.Errorf("more than 450")
	}
	field.command("publish", "gantry.field.alarm.boiler.hot", "raised", "ep=1", "seq=1")
	statusOf(t, s, "mirror", func(d wamp.Dict) bool { return number(t, d, "urgent") == 1 && number(t, d, "pending") == 0 })
	field.kill()
	if _, err := os.Stat(filepath.Join(state, "store", "mirror")); err == nil {
		t.Error("the second uplink has a queue of its own")
	}

	field = startProgram(t, config, state)
	defer field.stop()
	box.open.Store(true)
	s = field.join()
	statusOf(t, s, "mirror", func(d wamp.Dict) bool { return number(t, d, "depth") == 0 })
	statusOf(t, s, "hq", func(d wamp.Dict) bool { return number(t, d, "depth") == 0 })
	inOrder := func(where string, topics []string, values []any) {
		t.Helper()
		next, count := map[string]int{}, 0
		for i, topic := range topics {
			v, err := strconv.Atoi(fmt.Sprint(values[i]))
			if err != nil {
				continue // no reading
			}
			if want := next[topic]; want != 0 && v != want {
				t.Fatalf("%s: %d of %s came in place of %d", where, v, topic, want)
			}
			next[topic] = v + 7
			count++
		}
		if count != n {
			t.Errorf("%s has %d readings of %d", where, count, n)
		}
	}
	var topics []string
	var values []any
	for _, e := range box.events() {
		topics, values = append(topics, e.Topic), append(values, e.Value)
	}
	inOrder("the web server", topics, values)
	if topics[0] != "gantry.field.alarm.boiler.hot" {
		t.Errorf("the first that the web server has is %s", topics[0])
	}
	topics, values = nil, nil
	for _, e := range arrived.all() {
		if !e.live {
			topics, values = append(topics, e.topic), append(values, e.value)
		}
	}
	inOrder("the router", topics, values)
}
