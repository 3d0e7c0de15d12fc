package wsdev_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gantry/drivers"
	"gantry/drivers/drivertest"
	"gantry/drivers/wsdev"
	"gantry/wamp/websocket"

	"github.com/google/go-cmp/cmp"
)

const thermostatText = `
WHO
parse = { json = true }
reply = { id = "id", error = "error", result = "result" }
[point.t]
from = "t"
when = { type = "state" }
[point.text]
from = "text"
type = "text"
[point.n]
from = "n"
type = "int"
when = { type = "count" }
[point.target]
write = { template = '{"id":{id},"set":{value}}', timeout = "10s" }
[action.count]
template = '{"id":"{id}","do":"count","to":{to}}'
timeout = "10s"
args = { to = { type = "int", min = 0, max = 100 } }
[action.hang]
template = '{"id":{id},"do":"hang"}'
`

func TestConformanceOfDevicesThatAreDialled(t *testing.T) {
	text := strings.Replace(thermostatText, "\n[action.hang]", "\n[action.hang]\ntimeout = \"100ms\"", 1)
	drivertest.Test(t, func(t *testing.T) drivers.Driver {
		return newDriver(t, who(t, text, serveThermostat(t, nil)), drivers.Env{})
	})
}

func TestConformanceOfDevicesThatDialIn(t *testing.T) {
	drivertest.Test(t, func(t *testing.T) drivers.Driver {
		p := newPort(t)
		p.dialAgain(t, thermostat)
		return newDriver(t, who(t, thermostatText, ""), drivers.Env{Mount: p.Mount})
	})
}

// exercise has a thermostat do all that it can.
func exercise(t *testing.T, d *wsdev.Driver, link *drivertest.Link) {
	t.Helper()
	if r := link.WaitReading(t, "t", 0, nil); r.Value != 21.5 {
		t.Errorf("%+v", r)
	}
	if r := link.WaitReading(t, "text", 0, nil); r.Value != "grün" {
		t.Errorf("%+v", r)
	}
	if got, err := d.Write(t.Context(), "target", 18.5); got != 18.5 || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := d.Write(t.Context(), "target", 50.0); !errors.Is(err, drivers.ErrRefused) || !strings.Contains(err.Error(), "out of range") {
		t.Errorf("%v", err)
	}
	got, err := d.Do(t.Context(), "count", map[string]any{"to": int64(3)}, nil)
	if result, _ := got.(map[string]any); err != nil || result["result"] != "counted" {
		t.Errorf("%v, %v", got, err)
	}
	link.WaitReading(t, "n", 0, func(r drivers.Reading) bool { return r.Value == int64(2) })
	if g := link.AllGarbage(); len(g) > 0 {
		t.Errorf("%v", g)
	}
}

func TestBothDirections(t *testing.T) {
	t.Parallel()
	t.Run("dialled", func(t *testing.T) {
		t.Parallel()
		d := newDriver(t, who(t, thermostatText, serveThermostat(t, nil)), drivers.Env{})
		exercise(t, d, drivertest.Start(t, d))
	})
	t.Run("dialling in", func(t *testing.T) {
		t.Parallel()
		p := newPort(t)
		d := newDriver(t, who(t, thermostatText, ""), drivers.Env{Mount: p.Mount})
		link := drivertest.Start(t, d)
		p.dialAgain(t, thermostat)
		exercise(t, d, link)
	})
}

func TestOnlyTheDeviceGetsIn(t *testing.T) {
	t.Parallel()
	p := newPort(t)
	var log bytes.Buffer
	d := newDriver(t, strings.Replace(who(t, thermostatText, ""), "parse", "token_query = \"key\"\nparse", 1),
		drivers.Env{Mount: p.Mount, Log: slog.New(slog.NewTextHandler(&log, nil))})
	link := drivertest.Start(t, d)
	p.Wait(t)
	for _, header := range []http.Header{nil, {"Authorization": {"Bearer correct hors"}}, {"Authorization": {"Bearer"}}, {"Authorization": {token}}} {
		_, err := p.dial(t, header)
		var refused *websocket.HandshakeError
		if !errors.As(err, &refused) || refused.Status != http.StatusUnauthorized {
			t.Errorf("%v: %v", header, err)
		}
	}
	resp, err := http.Get(p.URL + "/dev/dev")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest || link.Ups() != 0 {
		t.Errorf("a plain request: %s, up %d times", resp.Status, link.Ups())
	}
	if s := log.String(); strings.Count(s, "device refused") != 1 || strings.Contains(s, "hors") && !strings.Contains(s, "level=WARN") {
		t.Errorf("%s", s)
	}
	dialer := websocket.Dialer{}
	c, err := dialer.Dial(t.Context(), p.url()+"?key=correct+horse")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Abandon() }()
	link.WaitUp(t, 1)
}

// A device that comes back before its old connection is known to be dead.
func TestTheNewestConnectionCounts(t *testing.T) {
	t.Parallel()
	p := newPort(t)
	var mu sync.Mutex
	var log bytes.Buffer
	d := newDriver(t, who(t, thermostatText, ""), drivers.Env{Mount: p.Mount,
		Log: slog.New(slog.NewTextHandler(writer(func(b []byte) { mu.Lock(); log.Write(b); mu.Unlock() }), nil))})
	link := drivertest.Start(t, d)
	p.Wait(t)
	say := func(c *websocket.Conn, t string) { _ = c.Write(websocket.Text, []byte(`{"type":"state","t":`+t+`}`)) }
	first, err := p.dial(t, bearer)
	if err != nil {
		t.Fatal(err)
	}
	say(first, "1")
	link.WaitReading(t, "t", 0, func(r drivers.Reading) bool { return r.Value == 1.0 })
	second, err := p.dial(t, bearer)
	if err != nil {
		t.Fatal(err)
	}
	say(second, "2")
	var closed *websocket.CloseError
	if _, _, err := first.Read(); !errors.As(err, &closed) || closed.Code != websocket.CloseGoingAway {
		t.Errorf("the first one: %v", err)
	}
	link.WaitReading(t, "t", 0, func(r drivers.Reading) bool { return r.Value == 2.0 })
	go func() { // the device answers
		_, b, err := second.Read()
		if err == nil && strings.Contains(string(b), "set") {
			_ = second.Write(websocket.Text, []byte(`{"id":1,"result":7}`))
		}
	}()
	if got, err := d.Write(t.Context(), "target", 7.0); got != 7.0 || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	mu.Lock()
	defer mu.Unlock()
	if link.Ups() != 1 || strings.Count(log.String(), "connected again") != 1 {
		t.Errorf("up %d times; log %s", link.Ups(), &log)
	}
}

type writer func(p []byte)

func (w writer) Write(p []byte) (int, error) { w(p); return len(p), nil }

func TestDeviceThatGoesIsLost(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(c *websocket.Conn){
		"in order":      func(c *websocket.Conn) { _ = c.Close(websocket.CloseNormal, "") },
		"without order": func(c *websocket.Conn) { _ = c.Abandon() },
		"over a limit":  func(c *websocket.Conn) { _ = c.Write(websocket.Text, make([]byte, 70000)) },
		"not UTF-8":     func(c *websocket.Conn) { _ = c.Write(websocket.Text, []byte("\xff")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPort(t)
			d := newDriver(t, who(t, thermostatText, ""), drivers.Env{Mount: p.Mount})
			for range 2 { // it may come back
				link := &drivertest.Link{}
				done := make(chan error, 1)
				go func() { done <- d.Run(t.Context(), link) }()
				p.Wait(t)
				c, err := p.dial(t, bearer)
				if err != nil {
					t.Fatal(err)
				}
				link.WaitUp(t, 1)
				failed := make(chan error, 1)
				go func() {
					_, err := d.Do(t.Context(), "hang", nil, nil)
					failed <- err
				}()
				if _, _, err := c.Read(); err != nil {
					t.Fatal(err)
				}
				end(c)
				select {
				case err := <-done:
					if !errors.Is(err, drivers.ErrOffline) {
						t.Errorf("%v", err)
					}
				case <-time.After(drivertest.Patience):
					t.Fatal("Run does not return")
				}
				if err := <-failed; !errors.Is(err, drivers.ErrOffline) {
					t.Errorf("the command under way: %v", err)
				}
			}
		})
	}
}

func TestSilentDevices(t *testing.T) {
	t.Parallel()
	for _, keys := range []string{"idle = \"50ms\"", "ping_interval = \"20ms\"\nping_timeout = \"20ms\""} {
		p := newPort(t)
		d := newDriver(t, strings.Replace(who(t, thermostatText, ""), "parse", keys+"\nparse", 1), drivers.Env{Mount: p.Mount})
		link := &drivertest.Link{}
		done := make(chan error, 1)
		go func() { done <- d.Run(t.Context(), link) }()
		p.Wait(t)
		if _, err := p.dial(t, bearer); err != nil { // nobody reads, so that pings are not answered
			t.Fatal(err)
		}
		select {
		case err := <-done:
			if !errors.Is(err, drivers.ErrOffline) {
				t.Errorf("%v", err)
			}
		case <-time.After(drivertest.Patience):
			t.Fatalf("%s: Run does not return", keys)
		}
	}
}

func TestDialling(t *testing.T) {
	t.Setenv("WSDEV_TEST_TOKEN", "tok")
	var got http.Header
	refuse := false
	url := serveThermostat(t, func(h *websocket.Handshake) error {
		got = h.Request.Header
		if refuse {
			return &websocket.Refusal{Status: 403, Text: "not you"}
		}
		return nil
	})
	text := strings.Replace(who(t, thermostatText, url+"/?secret=x"), "parse", "token = \"env:WSDEV_TEST_TOKEN\"\nheader = { X-Room = \"hall\" }\nparse", 1)
	d := newDriver(t, text, drivers.Env{})
	if model := d.Describe().Model; strings.Contains(model, "secret") {
		t.Error(model)
	}
	ctx, cancel := context.WithCancel(t.Context())
	link := &drivertest.Link{}
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx, link) }()
	link.WaitUp(t, 1)
	cancel()
	if err := <-done; err != nil || got.Get("Authorization") != "Bearer tok" || got.Get("X-Room") != "hall" {
		t.Errorf("%v, %v", err, got)
	}
	refuse = true
	if err := d.Run(t.Context(), link); !errors.Is(err, drivers.ErrOffline) || !strings.Contains(err.Error(), "403") || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
	if err := newDriver(t, who(t, thermostatText, "ws://127.0.0.1:1/?secret=x"), drivers.Env{}).Run(t.Context(), link); !errors.Is(err, drivers.ErrOffline) || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
	if err := newDriver(t, who(t, thermostatText, ""), drivers.Env{}).Run(t.Context(), link); err == nil || !strings.Contains(err.Error(), "port") {
		t.Errorf("%v", err)
	}
}

func TestDiallingThroughTLS(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(&websocket.Server{Handle: func(c *websocket.Conn, _ *http.Request) { thermostat(c) }})
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo) // a client that does not trust it
	s.StartTLS()
	t.Cleanup(s.Close)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	text := who(t, thermostatText, strings.Replace(s.URL, "http", "ws", 1))
	d := newDriver(t, strings.Replace(text, "parse", "ca = \"ca.pem\"\nparse", 1), drivers.Env{Dir: dir})
	exercise(t, d, drivertest.Start(t, d))
	if err := newDriver(t, text, drivers.Env{}).Run(t.Context(), &drivertest.Link{}); !errors.Is(err, drivers.ErrOffline) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("without its CA: %v", err)
	}
}

// Lines of text without any JSON, a greeting, and answers that are told by a pattern.
func TestTextDevices(t *testing.T) {
	t.Parallel()
	p := newPort(t)
	d := newDriver(t, who(t, `
WHO
subprotocol = "lines"
hello = ["HELLO", "SUBSCRIBE all"]
parse = { regex = '^T=(?P<t>\S+)$', ignore = ['^#'] }
[point.t]
from = "t"
write = { template = "SET {value}", ack = '^OK (?P<value>\S+)$', nack = '^ERR', timeout = "10s" }
`, ""), drivers.Env{Mount: p.Mount})
	link := drivertest.Start(t, d)
	p.Wait(t)
	dialer := websocket.Dialer{Header: bearer, Subprotocols: []string{"lines"}}
	c, err := dialer.Dial(t.Context(), p.url())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Abandon() }()
	next := func() string {
		_, b, err := c.Read()
		if err != nil {
			t.Error(err)
		}
		return string(b)
	}
	if diff := cmp.Diff([]string{"HELLO", "SUBSCRIBE all"}, []string{next(), next()}); diff != "" {
		t.Error(diff)
	}
	for _, m := range []string{"# hello", "T=1.5\r\n", "T=warm", "nonsense"} {
		_ = c.Write(websocket.Text, []byte(m))
	}
	_ = c.Write(websocket.Binary, []byte("T=2.5"))
	link.WaitReading(t, "t", 0, func(r drivers.Reading) bool { return r.Value == 2.5 })
	var got []any
	for _, r := range link.Readings() {
		got = append(got, r.Value, r.Why)
	}
	if diff := cmp.Diff([]any{1.5, "", nil, "not_a_number", 2.5, ""}, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]drivertest.Garbage{{Why: "no_match", Sample: "nonsense"}}, link.AllGarbage()); diff != "" {
		t.Error(diff)
	}
	answers := make(chan string, 2)
	answers <- "OK 4.25"
	answers <- "ERR 1"
	go func() {
		for range 2 {
			if _, _, err := c.Read(); err != nil {
				return
			}
			_ = c.Write(websocket.Text, []byte(<-answers))
		}
	}()
	if got, err := d.Write(t.Context(), "t", 4.2); got != 4.25 || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := d.Write(t.Context(), "t", 4.2); !errors.Is(err, drivers.ErrRefused) {
		t.Errorf("%v", err)
	}
}

func TestConfigErrorsNameTheKey(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ who, from, to, key string }{
		{"", "WHO", "", "token"},
		{"", "WHO", "token = \"env:T\"\nheader = { A = \"b\" }", "url"},
		{"", "WHO", "token = \"env:T\"\nmax_message = 1", "max_message"},
		{"", "WHO", "token = \"env:T\"\nidle = \"2h\"", "idle"},
		{"", "WHO", "token = \"env:T\"\nping_interval = \"2h\"", "ping_interval"},
		{"", "WHO", "token = \"env:T\"\nhello = [\"\"]", "hello.0"},
		{"", "WHO", "token = \"env:T\"\nsubprotocol = \"a\\n\"", "subprotocol"},
		{"", "WHO", "url = \"http://x\"", "url"},
		{"", "WHO", "url = \"ws://x\"\ntoken_query = \"k\"", "token_query"},
		{"", "WHO", "url = \"wss://x\"\nca = \"/none.pem\"", "ca"},
		{"token = \"env:T\"", "{id},\"set\":{value}", "1,\"set\":2", "point.target.write.template"},
		{"token = \"env:T\"", "parse = { json = true }", "", "parse"},
		{"token = \"env:T\"", "to = { type = \"int\", min = 0, max = 100 }", "to = { type = \"text\" }", "action.count.template"},
	} {
		text := thermostatText
		if tt.who != "" {
			text = strings.Replace(text, "WHO", tt.who, 1)
		}
		changed := strings.Replace(text, tt.from, tt.to, 1)
		if changed == text {
			t.Errorf("%s is not there", tt.from)
		}
		_, err := wsdev.New(parse(t, changed), drivers.Env{})
		var ce *drivers.ConfigError
		if !errors.As(err, &ce) || ce.Key != tt.key || ce.Text == "" || ce.Allowed == "" {
			t.Errorf("%s: error %v, want one about %s that tells what is allowed", tt.to, err, tt.key)
		}
	}
}

func TestKindTakesItsConfig(t *testing.T) {
	t.Parallel()
	cfg := wsdev.Kind.Config().(*wsdev.Config)
	*cfg = parse(t, strings.Replace(thermostatText, "WHO", `token = "env:T"`, 1))
	d, err := wsdev.Kind.New(cfg, drivers.Env{})
	if err != nil {
		t.Fatal(err)
	}
	if desc := d.Describe(); len(desc.Points) != 4 || len(desc.Actions) != 2 || desc.Model != "WebSocket device that dials in" {
		t.Errorf("%+v", desc)
	}
}

func TestGarbageIsNoValue(t *testing.T) {
	t.Parallel()
	for name, message := range map[string]struct {
		typ  websocket.Opcode
		text string
	}{
		"no JSON": {websocket.Text, "21.5 Cel"}, "cut off": {websocket.Text, `{"type":"state","t":21.5`}, "binary": {websocket.Binary, "\xff\xfe"},
		"another type": {websocket.Text, `{"type":"state","t":"warm"}`}, "of no point": {websocket.Text, `{"type":"state","x":1}`},
	} {
		say := func(spoilt <-chan struct{}) func(*websocket.Conn) {
			return func(c *websocket.Conn) {
				defer func() { _ = c.Abandon() }()
				select {
				case <-spoilt:
				case <-t.Context().Done():
				}
				_ = c.Write(message.typ, []byte(message.text))
				_, _, _ = c.Read() // until the other end goes
			}
		}
		t.Run("dialled, "+name, func(t *testing.T) {
			t.Parallel()
			spoilt := make(chan struct{})
			d := newDriver(t, who(t, thermostatText, serve(t, nil, say(spoilt))), drivers.Env{})
			drivertest.GarbageIsNoValue(t, d, func() { close(spoilt) })
		})
		t.Run("dialling in, "+name, func(t *testing.T) {
			t.Parallel()
			p, spoilt := newPort(t), make(chan struct{})
			p.dialAgain(t, say(spoilt))
			drivertest.GarbageIsNoValue(t, newDriver(t, who(t, thermostatText, ""), drivers.Env{Mount: p.Mount}), func() { close(spoilt) })
		})
	}
}
