package http_test

import (
	"fmt"
	"io"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"gantry/drivers"
	"gantry/drivers/drivertest"
	driver "gantry/drivers/http"
	"gantry/internal/config"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// plug is a metering plug with a web server.
type plug struct {
	*httptest.Server

	mu        sync.Mutex // guards what follows
	on        bool
	watts     string // JSON
	seen      []string
	etags     bool
	status    int // in place of every answer, 0 = none
	header    nethttp.Header
	elsewhere string
	hangUp    bool // in place of an answer
}

func newPlug(t testing.TB) *plug {
	t.Helper()
	p := &plug{watts: "21.5"}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *plug) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

// requests returns what was asked since it was called last.
func (p *plug) requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer func() { p.seen = nil }()
	return p.seen
}

func (p *plug) ServeHTTP(w nethttp.ResponseWriter, r *nethttp.Request) {
	body, _ := io.ReadAll(r.Body)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, strings.TrimSpace(fmt.Sprintf("%s %s %s", r.Method, r.RequestURI, body)))
	if p.hangUp {
		panic(nethttp.ErrAbortHandler)
	}
	if p.status != 0 {
		for name, v := range p.header {
			w.Header()[name] = v
		}
		w.WriteHeader(p.status)
		fmt.Fprintf(w, "because")
		return
	}
	if p.etags && r.URL.Path == "/status" {
		if r.Header.Get("If-None-Match") == `"7"` {
			w.WriteHeader(nethttp.StatusNotModified)
			return
		}
		w.Header().Set("ETag", `"7"`)
	}
	switch r.URL.Path {
	case "/status":
		fmt.Fprintf(w, `{"meters":[{"power":%s}],"on":%t,"name":"plug"}`, p.watts, p.on)
	case "/plain":
		fmt.Fprintf(w, " %s \n", p.watts)
	case "/info":
		fmt.Fprintf(w, "T=%s S=ok", p.watts)
	case "/relay":
		p.on = r.URL.Query().Get("turn") == "on"
		fmt.Fprintf(w, `{"ison":%t}`, p.on)
	case "/moved":
		nethttp.Redirect(w, r, "/status", nethttp.StatusFound)
	case "/elsewhere":
		nethttp.Redirect(w, r, p.elsewhere, nethttp.StatusFound)
	case "/loop":
		nethttp.Redirect(w, r, "/loop", nethttp.StatusFound)
	case "/endless":
		for range 1000 {
			fmt.Fprint(w, strings.Repeat("x", 1000))
		}
	case "/json", "/form", "/say/a b/c":
		fmt.Fprintf(w, "%s", body)
	case "/hang":
		p.mu.Unlock()
		<-r.Context().Done()
		p.mu.Lock()
	default:
		nethttp.NotFound(w, r)
	}
}

// parse reads a device's own keys; URL stands for the device's.
func parse(t testing.TB, text, url string) driver.Config {
	t.Helper()
	var cfg driver.Config
	if err := config.Decode("test.toml", []byte(strings.ReplaceAll(text, "URL", url)), &cfg); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func newDriver(t testing.TB, text, url string, env drivers.Env) drivers.Driver {
	t.Helper()
	d, err := driver.New(parse(t, text, url), env)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// start runs a driver and returns both once it is up.
func start(t testing.TB, text, url string) (drivers.Driver, *drivertest.Link) {
	t.Helper()
	d := newDriver(t, text, url, drivers.Env{})
	link := drivertest.Start(t, d)
	link.WaitUp(t, 1)
	return d, link
}

// read returns values and reasons.
func read(t testing.TB, d drivers.Driver, ids ...string) []any {
	t.Helper()
	got, err := d.(drivers.Reader).Read(t.Context(), ids)
	if err != nil {
		t.Fatal(err)
	}
	var all []any
	for _, r := range got {
		all = append(all, r.Value, r.Why)
	}
	return all
}
