package interop

import (
	"strings"
	"testing"

	"gantry/internal/daemon"
	"gantry/internal/gopeer"
	"gantry/internal/mosquitto"
)

// Router is the router nexus, which can be killed and started again.
type Router struct {
	Addr string // host:port of its WebSockets

	t       testing.TB
	command []string
	proc    daemon.Daemon
}

// NewRouter starts a router with the realm gantry on a free port of 127.0.0.1. One that is
// exact refuses to register patterns. It is killed at the end of the test.
func NewRouter(t testing.TB, exact bool) *Router {
	t.Helper()
	program, err := gopeer.Build(t, source("nexus", "router"))
	if err != nil {
		Missing(t, "module missing: github.com/gammazero/nexus/v3")
	}
	r := &Router{t: t, Addr: mosquitto.FreeAddr(t)}
	r.command = []string{program, r.Addr}
	if exact {
		r.command = append(r.command, "exact")
	}
	r.proc = daemon.Daemon{Name: "nexus", Patience: Patience, Ready: func(line string) bool { return strings.HasSuffix(line, "ready") }}
	r.Start()
	t.Cleanup(r.Kill)
	return r
}

// URL returns the address for Join and Dial.
func (r *Router) URL() string { return "ws://" + r.Addr + "/ws" }

// Start runs the router and waits until it listens.
func (r *Router) Start() {
	r.t.Helper()
	r.proc.Start(r.t, r.command[0], r.command[1:]...)
}

// Kill ends the router without a farewell. It may be down already.
func (r *Router) Kill() { r.proc.Kill() }
