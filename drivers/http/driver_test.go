package http_test

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"log"
	nethttp "net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gantry/drivers"
	"gantry/drivers/drivertest"
	driver "gantry/drivers/http"

	"github.com/google/go-cmp/cmp"
)

const plugText = `
url = "URL"
[request.status]
path = "/status"
parse = { json = true }
[point.power]
from = "meters.0.power"
[point.on]
from = "on"
type = "bool"
true = "on"
false = "off"
write = { method = "GET", path = "/relay?turn={value}", from = "ison" }
[action.say]
method = "PUT"
path = "/json"
body = '{"say":"{what}","n":{n}}'
expect = '"n":(?P<n>\d+)'
args = { what = { type = "text" }, n = { type = "int" } }
`

func TestConformance(t *testing.T) {
	drivertest.Test(t, func(t *testing.T) drivers.Driver {
		return newDriver(t, plugText, newPlug(t).URL, drivers.Env{})
	})
}

func TestAnswersBecomeValues(t *testing.T) {
	t.Parallel()
	p := newPlug(t)
	const json = "\nparse = { json = true }\n"
	for _, tt := range []struct {
		watts, path, more string
		want              []any
	}{
		{"60.25", "/status", json + "[point.p]\nfrom = \"meters.0.power\"", []any{60.25, ""}},
		{"60.25", "/status", json + "[point.p]\nfrom = \"$.meters.0.power\"", []any{60.25, ""}},
		{`"60.25"`, "/status", json + "[point.p]\nfrom = \"meters.0.power\"", []any{60.25, ""}},
		{`"n/a"`, "/status", json + "[point.p]\nfrom = \"meters.0.power\"", []any{nil, "not_a_number"}},
		{"null", "/status", json + "[point.p]\nfrom = \"meters.0.power\"", []any{nil, "null"}},
		{"1e999", "/status", json + "[point.p]\nfrom = \"meters.0.power\"", []any{nil, "out_of_range"}},
		{"[1]", "/status", json + "[point.p]\nfrom = \"meters.0.power\"", []any{nil, "not_a_number"}},
		{"}", "/status", json + "[point.p]\nfrom = \"meters.0.power\"", []any{nil, "not_json"}},
		{"1", "/status", json + "[point.p]\nfrom = \"meters.1.power\"", []any{nil, "no_field"}},
		{"7", "/moved", json + "[point.p]\nfrom = \"meters.0.power\"\ntype = \"int\"", []any{int64(7), ""}},
		{"7.5", "/plain", "\n[point.p]", []any{7.5, ""}},
		{"7.5 W", "/plain", "\n[point.p]", []any{nil, "not_a_number"}},
		{"7.5", "/info", "\nparse = { regex = '^T=(?P<t>\\S+)' }\n[point.p]\nfrom = \"t\"", []any{7.5, ""}},
		{"7.5", "/info", "\nparse = { regex = '^X=(?P<t>\\S+)' }\n[point.p]\nfrom = \"t\"", []any{nil, "no_match"}},
		{"7.5", "/info", "\n[point.p]\nstatus = true\ntype = \"int\"", []any{int64(200), ""}},
		{"7.5", "/nothing", "\n[point.p]\nstatus = true\ntype = \"bool\"", []any{false, ""}},
	} {
		p.set(func() { p.watts = tt.watts })
		d, _ := start(t, "url = \"URL\"\n[request.r]\npath = \""+tt.path+"\""+tt.more+"\n", p.URL)
		if diff := cmp.Diff(tt.want, read(t, d, "p")); diff != "" {
			t.Errorf("%s %s: %s", tt.path, tt.watts, diff)
		}
	}
}

func TestEachRequestIsMadeOnceForAllOfItsPoints(t *testing.T) {
	t.Parallel()
	p := newPlug(t)
	d, _ := start(t, `
url = "URL/"
[request.status]
path = "/status"
parse = { json = true }
[request.plain]
path = "/plain"
[request.none]
path = "/none"
[point.power]
request = "status"
from = "meters.0.power"
[point.name]
request = "status"
from = "name"
type = "text"
[point.watts]
request = "plain"
[point.none]
request = "none"
`, p.URL)
	p.requests()
	got := read(t, d, "power", "name", "watts", "none")
	if diff := cmp.Diff([]any{nil, "refused", 21.5, "", 21.5, "", "plug", ""}, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"GET /none", "GET /plain", "GET /status"}, p.requests()); diff != "" {
		t.Error(diff)
	}
	if _, err := d.(drivers.Reader).Read(t.Context(), []string{"none"}); !errors.Is(err, drivers.ErrRefused) || !strings.Contains(err.Error(), "404") {
		t.Errorf("%v", err)
	}
}

func TestWritesAndActions(t *testing.T) {
	t.Parallel()
	p := newPlug(t)
	d, _ := start(t, plugText, p.URL)
	p.requests()
	if got, err := d.(drivers.Writer).Write(t.Context(), "on", true); got != true || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	got, err := d.(drivers.Doer).Do(t.Context(), "say", map[string]any{"what": `x","n":9,"y":"`, "n": int64(4)}, nil)
	want := `{"say":"x\",\"n\":9,\"y\":\"","n":4}`
	if diff := cmp.Diff(any(map[string]any{"status": int64(200), "answer": want, "n": "4"}), got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if diff := cmp.Diff([]string{"GET /relay?turn=on", "PUT /json " + want}, p.requests()); diff != "" {
		t.Error(diff)
	}
	p.set(func() { p.status = nethttp.StatusConflict })
	if _, err := d.(drivers.Writer).Write(t.Context(), "on", true); !errors.Is(err, drivers.ErrRefused) || !strings.Contains(err.Error(), `because`) {
		t.Errorf("%v", err)
	}
}

const commandsText = `
url = "URL"
[point.form]
type = "text"
silent = true
write = { path = "/form", body = "v={value}", content_type = "application/x-www-form-urlencoded" }
[point.path]
type = "text"
silent = true
write = { path = "/say/{value}/c?x={value}" }
[point.unlike]
silent = true
write = { path = "/json", body = '{"v":{value}}', expect = '"v":1\D' }
[point.back]
silent = true
write = { path = "/json", body = '{"v":{value}}', from = "w" }
[point.moved]
silent = true
write = { path = "/moved?{value}" }
`

func TestValuesStayWhereTheyBelong(t *testing.T) {
	t.Parallel()
	p := newPlug(t)
	d, _ := start(t, commandsText, p.URL)
	w := d.(drivers.Writer)
	for point, v := range map[string]drivers.Value{"form": "a&b=c d", "path": "a b"} {
		if got, err := w.Write(t.Context(), point, v); got != v || err != nil {
			t.Errorf("%v, %v", got, err)
		}
	}
	for _, r := range p.requests() {
		if r != "POST /form v=a%26b%3Dc+d" && r != "POST /say/a%20b/c?x=a+b" {
			t.Errorf("request %s", r)
		}
	}
	for _, tt := range []struct {
		point string
		v     drivers.Value
		want  error
	}{
		{"path", "..", drivers.ErrRefused}, {"path", "../x", drivers.ErrRefused}, {"unlike", 12.0, drivers.ErrRefused},
		{"back", 1.0, drivers.ErrNotVerified}, {"moved", 1.0, drivers.ErrRefused},
	} {
		if _, err := w.Write(t.Context(), tt.point, tt.v); !errors.Is(err, tt.want) {
			t.Errorf("%s = %v: %v", tt.point, tt.v, err)
		}
	}
	for _, r := range p.requests() {
		if strings.Contains(r, "..") && !strings.Contains(r, "..%2Fx") {
			t.Errorf("request %s", r)
		}
	}
}

func TestStatusesAreErrors(t *testing.T) {
	t.Parallel()
	p := newPlug(t)
	d, _ := start(t, plugText, p.URL)
	for status, want := range map[int]error{
		401: drivers.ErrRefused, 403: drivers.ErrRefused, 404: drivers.ErrRefused, 400: drivers.ErrRefused, 408: drivers.ErrTimeout,
		504: drivers.ErrTimeout, 502: drivers.ErrOffline, 429: drivers.ErrBusy, 503: drivers.ErrBusy,
	} {
		p.set(func() { p.status = status })
		if _, err := d.(drivers.Reader).Read(t.Context(), []string{"power"}); !errors.Is(err, want) || !strings.Contains(err.Error(), "because") {
			t.Errorf("%d: %v", status, err)
		}
	}
	p.set(func() { p.status = 500 })
	if _, err := d.(drivers.Reader).Read(t.Context(), []string{"power"}); err == nil || drivers.Why(err) != "error" {
		t.Errorf("500: %v", err)
	}
}

// A device that says when it wants to be asked again is left alone until then.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	p := newPlug(t)
	now := time.Unix(1_764_000_000, 0)
	d := newDriver(t, plugText, p.URL, drivers.Env{Now: func() time.Time { return now }})
	link := drivertest.Start(t, d)
	link.WaitUp(t, 1)
	ask := func() error { _, err := d.(drivers.Reader).Read(t.Context(), []string{"power"}); return err }
	for _, tt := range []struct {
		after string
		wait  time.Duration
	}{{now.Add(time.Minute).UTC().Format(nethttp.TimeFormat), time.Minute}, {"30", 30 * time.Second}, {"4000000000", 5 * time.Minute}, {"soon", 0}} {
		p.set(func() { p.status, p.header = 429, nethttp.Header{"Retry-After": {tt.after}} })
		if err := ask(); !errors.Is(err, drivers.ErrBusy) {
			t.Errorf("%v", err)
		}
		p.set(func() { p.status = 0 })
		p.requests()
		if tt.wait > 0 {
			now = now.Add(tt.wait - time.Second)
			if err := ask(); !errors.Is(err, drivers.ErrBusy) || len(p.requests()) > 0 {
				t.Errorf("%s: it was asked too early: %v", tt.after, err)
			}
			now = now.Add(time.Second)
		}
		if err := ask(); err != nil {
			t.Errorf("%s: %v", tt.after, err)
		}
	}
}

func TestUnchangedAnswersAreRemembered(t *testing.T) {
	t.Parallel()
	p := newPlug(t)
	p.etags = true
	d, _ := start(t, plugText, p.URL)
	p.set(func() { p.watts = "99" }) // which the device says it has not
	for range 2 {
		if diff := cmp.Diff([]any{21.5, ""}, read(t, d, "power")); diff != "" {
			t.Error(diff)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	p := newPlug(t)
	other := newPlug(t)
	p.elsewhere = other.URL + "/plain"
	for path, want := range map[string]string{"/elsewhere": "another host", "/loop": "without end", "/endless": "max_body = 1000"} {
		d, _ := start(t, "url = \"URL\"\nmax_body = 1000\n[request.r]\npath = \""+path+"\"\n[point.p]\n", p.URL)
		if _, err := d.(drivers.Reader).Read(t.Context(), []string{"p"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if n := len(other.requests()); n > 0 {
		t.Errorf("%d requests to another host", n)
	}
	d, _ := start(t, "url = \"URL\"\n[request.a]\npath = \"/plain\"\n[request.hang]\npath = \"/hang\"\n[point.p]\nrequest = \"hang\"\n", p.URL)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := d.(drivers.Reader).Read(ctx, []string{"p"}); !errors.Is(err, drivers.ErrTimeout) {
		t.Errorf("%v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := d.(drivers.Reader).Read(ctx, []string{"p"}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// A device that hangs up in the midst of a command may have done it: it is not told
// twice.
func TestCommandsAreSentOnce(t *testing.T) {
	t.Parallel()
	p := newPlug(t)
	d, _ := start(t, plugText, p.URL)
	read(t, d, "power") // there is a connection that could be used again
	p.requests()
	p.set(func() { p.hangUp = true })
	if _, err := d.(drivers.Writer).Write(t.Context(), "on", true); !errors.Is(err, drivers.ErrOffline) {
		t.Errorf("%v", err)
	}
	if diff := cmp.Diff([]string{"GET /relay?turn=on"}, p.requests()); diff != "" {
		t.Error(diff)
	}
}

func TestDeviceThatDoesNotAnswerIsLost(t *testing.T) {
	t.Parallel()
	p := newPlug(t)
	d := newDriver(t, plugText, p.URL, drivers.Env{})
	link := &drivertest.Link{}
	done := make(chan error, 1)
	go func() { done <- d.Run(t.Context(), link) }()
	link.WaitUp(t, 1)
	p.Close()
	for range 3 {
		if _, err := d.(drivers.Reader).Read(t.Context(), []string{"power"}); !errors.Is(err, drivers.ErrOffline) {
			t.Errorf("%v", err)
		}
	}
	select {
	case err := <-done:
		if !errors.Is(err, drivers.ErrOffline) {
			t.Errorf("%v", err)
		}
	case <-time.After(drivertest.Patience):
		t.Fatal("it is still there")
	}
	if err := d.Run(t.Context(), link); !errors.Is(err, drivers.ErrOffline) || strings.Contains(err.Error(), "/status") {
		t.Errorf("%v", err)
	}
}

func TestSecretsGoIntoHeadersOnly(t *testing.T) {
	t.Setenv("HTTP_TEST_PASSWORD", "pass word")
	t.Setenv("HTTP_TEST_TOKEN", "tok")
	var got nethttp.Header
	s := httptest.NewUnstartedServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		got = r.Header
		_, _ = w.Write([]byte("1"))
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // a client that does not trust it
	s.StartTLS()
	defer s.Close()
	dir := t.TempDir()
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), cert, 0o600); err != nil {
		t.Fatal(err)
	}
	const rest = "ca = \"ca.pem\"\nurl = \"URL\"\n[request.r]\npath = \"/\"\n[point.p]\n"
	for _, tt := range []struct{ text, header, want string }{
		{`user = "me"` + "\n" + `password = "env:HTTP_TEST_PASSWORD"` + "\n", "Authorization", "Basic bWU6cGFzcyB3b3Jk"},
		{`token = "env:HTTP_TEST_TOKEN"` + "\n", "Authorization", "Bearer tok"},
		{`token = "env:HTTP_TEST_TOKEN"` + "\n" + `token_header = "X-Api-Key"` + "\n", "X-Api-Key", "tok"},
		{`header = { X-Room = "hall" }` + "\n", "X-Room", "hall"},
	} {
		d := newDriver(t, tt.text+rest, s.URL, drivers.Env{Dir: dir})
		link := &drivertest.Link{}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- d.Run(ctx, link) }()
		link.WaitUp(t, 1)
		cancel()
		if err := <-done; err != nil || got.Get(tt.header) != tt.want {
			t.Errorf("%s: %v, %v", tt.text, got, err)
		}
	}
	d := newDriver(t, strings.Replace(rest, "ca = \"ca.pem\"", "", 1), s.URL, drivers.Env{})
	if err := d.Run(t.Context(), &drivertest.Link{}); !errors.Is(err, drivers.ErrOffline) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("without its CA: %v", err)
	}
	d = newDriver(t, "token = \"env:HTTP_TEST_NONE\"\nca = \"ca.pem\"\n"+strings.Replace(rest, "ca = \"ca.pem\"\n", "", 1), s.URL, drivers.Env{Dir: dir})
	if err := d.Run(t.Context(), &drivertest.Link{}); err == nil || !strings.Contains(err.Error(), "HTTP_TEST_NONE") {
		t.Errorf("without its secret: %v", err)
	}
}

func TestKindTakesItsConfig(t *testing.T) {
	t.Parallel()
	cfg := driver.Kind.Config().(*driver.Config)
	*cfg = parse(t, plugText, "http://192.0.2.1")
	d, err := driver.Kind.New(cfg, drivers.Env{})
	if err != nil {
		t.Fatal(err)
	}
	want := drivers.Description{
		Model: "web device at http://192.0.2.1",
		Points: []drivers.Point{
			{ID: "on", Type: drivers.Bool, Readable: true, Writable: true},
			{ID: "power", Readable: true},
		},
		Actions: []drivers.Action{{ID: "say", Args: []drivers.Point{
			{ID: "n", Type: drivers.Int, Writable: true}, {ID: "what", Type: drivers.Text, Writable: true}}}},
	}
	if diff := cmp.Diff(want, d.Describe()); diff != "" {
		t.Error(diff)
	}
}

func TestGarbageIsNoValue(t *testing.T) {
	t.Parallel()
	p := newPlug(t)
	drivertest.GarbageIsNoValue(t, newDriver(t, plugText, p.URL, drivers.Env{}), func() { p.set(func() { p.watts = `21.5"` }) })
}
