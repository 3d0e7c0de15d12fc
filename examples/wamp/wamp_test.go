package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gantry/wamp/interop"
)

func TestMain(m *testing.M) { interop.Main(m) }

// printed is what a side prints.
type printed struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
	more chan struct{} // has room for one: something was printed
}

func newPrinted() *printed { return &printed{more: make(chan struct{}, 1)} }

func (p *printed) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case p.more <- struct{}{}:
	default:
	}
	return p.text.Write(b)
}

// lines returns the whole lines.
func (p *printed) lines() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := strings.Split(p.text.String(), "\n")
	return all[:len(all)-1]
}

// await returns once n lines are there.
func (p *printed) await(t *testing.T, n int) {
	t.Helper()
	timeout := time.After(interop.Patience)
	for len(p.lines()) < n {
		select {
		case <-p.more:
		case <-timeout:
			t.Fatalf("printed %q, expected %d lines", p.lines(), n)
		}
	}
}

// check fails the test when the lines are others.
func (p *printed) check(t *testing.T, side string, want []string) {
	t.Helper()
	same := slices.EqualFunc(p.lines(), want, func(line, pattern string) bool {
		return regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*") + "$").MatchString(line)
	})
	if !same {
		t.Errorf("the %s printed %q, expected %q", side, p.lines(), want)
	}
}

var discard = slog.New(slog.DiscardHandler)

// within ends when a test has waited for long enough.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*interop.Patience)
	t.Cleanup(cancel)
	return ctx
}

// TestEmbedded runs every example inside the process of its router.
func TestEmbedded(t *testing.T) {
	t.Parallel()
	for _, e := range examples() {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			w, ok := wants[e.name]
			if !ok {
				t.Fatal("nothing is expected of this example")
			}
			if strings.HasPrefix(e.name, "login/") {
				w.back = nil // nobody is asked
				w.front = slices.Repeat([]string{trusted}, len(w.front))
			}
			back, front := newPrinted(), newPrinted()
			err := embedded(within(t), "gantry", discard, func(p place) error { return p.runBoth(within(t), e, back, front) })
			if err != nil {
				t.Error(err)
			}
			back.check(t, "backend", w.back)
			front.check(t, "frontend", w.front)
		})
	}
}

// TestRemote runs every example at the program, over two links, and each of its
// sides with a peer in another language.
func TestRemote(t *testing.T) {
	t.Parallel()
	g := startGateways(t)
	links := []interop.Link{{Scheme: "ws", Serializer: "json"}, {Scheme: "rs", Serializer: "cbor"}}
	if testing.Short() {
		links = links[:1]
	}
	for _, link := range links {
		g.each(t, link.String(), func(t *testing.T, e example) {
			if link.Scheme == "rs" && e.name == "login/cookie" {
				t.Skip("there are no cookies in RawSocket")
			}
			back, front := newPrinted(), newPrinted()
			if err := g.place(t, e, link).runBoth(within(t), e, back, front); err != nil {
				t.Error(err)
			}
			back.check(t, "backend", wants[e.name].back)
			front.check(t, "frontend", wants[e.name].front)
		})
	}
	if testing.Short() {
		return // peers are processes of their own, the same whatever this one is
	}
	t.Run("python", func(t *testing.T) {
		interop.AutobahnPython().Need(t)
		g.each(t, "frontend", g.pythonFrontend)
	})
	t.Run("javascript", func(t *testing.T) {
		needNode(t)
		g.each(t, "backend", g.javascriptBackend)
	})
}

// gateways are programs that run the examples' configurations.
type gateways struct {
	main, dynamic, tls *interop.Gateway
	files              string // directory of certificates
}

func startGateways(t *testing.T) *gateways {
	t.Helper()
	g := &gateways{files: t.TempDir()}
	read := func(file string) string {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	g.main = interop.StartGateway(t, read("gantry.toml"), "EXAMPLE_STORED="+string(interop.Stored(t, "secret123")))
	g.dynamic = interop.StartGateway(t, read(filepath.Join("login", "dynamic.toml")))
	interop.WriteCert(t, g.file("gateway"))
	config := strings.NewReplacer(
		"gateway.pem", g.file("gateway.pem"), "gateway.key", g.file("gateway.key"),
		strings.Repeat("0", 64), interop.WriteCert(t, g.file("eve")),
	).Replace(read(filepath.Join("login", "tls.toml")))
	g.tls = interop.StartGateway(t, config)
	return g
}

func (g *gateways) file(name string) string { return filepath.Join(g.files, name) }

// each runs a test for every example, all of them at the same time.
func (g *gateways) each(t *testing.T, name string, f func(t *testing.T, e example)) {
	t.Run(name, func(t *testing.T) {
		for _, e := range examples() {
			t.Run(e.name, func(t *testing.T) {
				t.Parallel()
				f(t, e)
			})
		}
	})
}

// url is where an example finds its router over a link.
func (g *gateways) url(e example, l interop.Link) string {
	switch e.name {
	case "login/dynamic":
		return g.dynamic.URL(l)
	case "login/tls":
		return g.tls.URL(interop.Link{Scheme: l.Scheme + "s"})
	}
	return g.main.URL(l)
}

// place is the same for components in Go, as the command line would have it.
func (g *gateways) place(t *testing.T, e example, l interop.Link) place {
	t.Helper()
	args := []string{"--url", g.url(e, l), "--serializer", l.Serializer, e.name}
	if e.name == "login/tls" {
		args = append([]string{"--ca", g.file("gateway.pem"), "--cert", g.file("eve.pem"), "--key", g.file("eve.key")}, args...)
	}
	o, err := parse(args, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	p, err := o.remote(discard)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
