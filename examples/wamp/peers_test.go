package main

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"

	"gantry/wamp/interop"
)

// web is how the peers in other languages connect.
var web = interop.Link{Scheme: "ws"}

// source is the file of an example's peer in another language, with the arguments
// that it takes besides the URL.
func (g *gateways) source(e example, extension string) (file string, args []string) {
	method, login := strings.CutPrefix(e.name, "login/")
	switch {
	case !login && !strings.Contains(e.name, "/"):
		return e.name + "/" + e.name + extension, nil
	case !login:
		return e.name + extension, nil
	case method == "tls":
		args = []string{g.file("gateway.pem"), g.file("eve.pem"), g.file("eve.key")}
	}
	return "login/login" + extension, append([]string{method}, args...)
}

// peer is a program in another language.
type peer struct {
	*exec.Cmd
	out, err *printed
}

// start starts a program, which is killed when the test ends.
func start(t *testing.T, ctx context.Context, program string, args ...string) *peer {
	t.Helper()
	p := &peer{exec.CommandContext(ctx, program, args...), newPrinted(), newPrinted()}
	p.Stdout, p.Stderr = p.out, p.err
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%v said:\n%s", p.Args, strings.Join(p.err.lines(), "\n"))
		}
	})
	return p
}

// pythonFrontend runs a frontend in Python with the backend in Go.
func (g *gateways) pythonFrontend(t *testing.T, e example) {
	ctx, stop := context.WithCancel(within(t))
	defer stop()
	back, ready, ended := newPrinted(), make(chan struct{}), make(chan error, 1)
	if e.backend == nil {
		close(ready)
		ended <- nil
	} else {
		go func() {
			ended <- g.place(t, e, interop.Link{Scheme: "rs", Serializer: "cbor"}).runBackend(ctx, e, back, func() { close(ready) })
		}()
	}
	select {
	case <-ready:
	case <-ctx.Done():
		t.Fatal(<-ended)
	}
	file, args := g.source(e, ".py")
	front := start(t, ctx, interop.Python, append([]string{file, g.url(e, web)}, args...)...)
	if err := front.Wait(); err != nil {
		t.Error(err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	front.out.check(t, "frontend in Python", wants[e.name].front)
	back.check(t, "backend", wants[e.name].back)
}

// needNode skips the test without Node.js and AutobahnJS, or fails it where peers
// are required.
func needNode(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		interop.Missing(t, "package missing: nodejs")
	}
	if _, err := os.Stat("node_modules/autobahn/package.json"); err != nil {
		interop.Missing(t, "npm package missing: autobahn (npm ci in examples/wamp)")
	}
}

// javascriptBackend runs a backend in JavaScript with the frontend in Go, or, where
// there is none, a frontend in JavaScript.
func (g *gateways) javascriptBackend(t *testing.T, e example) {
	if e.name == "login/scram" {
		t.Skip("AutobahnJS has no SCRAM")
	}
	ctx, stop := context.WithCancel(within(t))
	defer stop()
	file, args := g.source(e, ".js")
	if e.name == "login/dynamic" {
		file, args = "login/dynamic.js", nil
	}
	js := start(t, ctx, "node", append([]string{file, g.url(e, web)}, args...)...)
	if e.backend == nil {
		if err := js.Wait(); err != nil {
			t.Error(err)
		}
		js.out.check(t, "frontend in JavaScript", wants[e.name].front)
		return
	}
	want := wants[e.name].back
	if other := wants[e.name].javascript; other != nil {
		want = other
	}
	want = append([]string{"ready"}, want...)
	js.out.await(t, 1)
	front := newPrinted()
	if err := g.place(t, e, interop.Link{Scheme: "rs", Serializer: "cbor"}).runFrontend(ctx, e, front); err != nil {
		t.Error(err)
	}
	front.check(t, "frontend", wants[e.name].front)
	js.out.await(t, len(want))
	stop()
	_ = js.Wait() // killed
	js.out.check(t, "backend in JavaScript", want)
}
