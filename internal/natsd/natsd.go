// Package natsd runs nats-server and the command nats as peers of tests, and reads streams.
package natsd

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"gantry/internal/daemon"
	"gantry/internal/mosquitto"
)

// patience is how long a program may take for a step.
const patience = time.Minute

// Need returns the path of nats-server or nats, as .ci/peers has built it, or else from
// PATH. It skips the test if there is none, or fails it where all peers have to be.
func Need(t testing.TB, program string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if path := filepath.Join(dir, ".tmp", "peers", program); exec.Command(path, "--version").Run() == nil {
			return path
		}
	}
	if path, err := exec.LookPath(program); err == nil {
		return path
	}
	if os.Getenv("GANTRY_REQUIRE_PEERS") == "1" {
		t.Fatalf("%s is missing: run .ci/peers", program)
	}
	t.Skipf("%s is missing: run .ci/peers", program)
	return ""
}

// Server is a server with JetStream that can be killed and started again.
type Server struct {
	Addr string // host:port

	t    testing.TB
	file string
	proc daemon.Daemon
}

// NewServer starts a server on a free port of 127.0.0.1. config has more lines for its
// configuration file. It is killed at the end of the test.
func NewServer(t testing.TB, config ...string) *Server {
	t.Helper()
	dir := t.TempDir()
	s := &Server{t: t, Addr: mosquitto.FreeAddr(t), file: filepath.Join(dir, "nats.conf")}
	lines := append([]string{"listen: " + s.Addr, "jetstream { store_dir: " + dir + " }"}, config...)
	if err := os.WriteFile(s.file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.proc = daemon.Daemon{Name: "nats-server", Patience: patience, Ready: func(line string) bool { return strings.HasSuffix(line, "Server is ready") }}
	s.Start()
	t.Cleanup(s.Kill)
	return s
}

// URL returns the address as nats.go takes it.
func (s *Server) URL() string { return "nats://" + s.Addr }

// Start runs the server and waits until it is ready.
func (s *Server) Start() {
	s.t.Helper()
	s.proc.Start(s.t, Need(s.t, "nats-server"), "-c", s.file)
}

// Kill ends the server without a farewell. It may be down already.
func (s *Server) Kill() { s.proc.Kill() }

// Nats runs the command nats towards the server and returns what it prints.
func (s *Server) Nats(args ...string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, Need(s.t, "nats"), append([]string{"--server", s.URL(), "--no-context"}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+s.t.TempDir(), "NO_COLOR=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("nats %q: %v: %s", args, err, out)
	}
	return string(out)
}

// Connect connects a client that outlives the server's deaths; it ends with the test.
func Connect(t testing.TB, url string, options ...nats.Option) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := nats.Connect(url, append([]nats.Option{nats.Timeout(patience), nats.MaxReconnects(-1), nats.ReconnectWait(50 * time.Millisecond)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	nc.SetClosedHandler(func(*nats.Conn) { close(gone) })
	t.Cleanup(func() { nc.Close(); <-gone })
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(patience))
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

// Messages returns the first n messages of a stream whose subjects match filter, or
// fails after two minutes.
func Messages(t testing.TB, js jetstream.JetStream, stream, filter string, n int) (all []jetstream.Msg) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c, err := js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{FilterSubjects: []string{filter}})
	if err != nil {
		t.Fatal(err)
	}
	it, err := c.Messages()
	if err != nil {
		t.Fatal(err)
	}
	defer it.Stop()
	stop := context.AfterFunc(ctx, it.Stop)
	defer stop()
	for len(all) < n {
		m, err := it.Next()
		if err != nil {
			t.Fatalf("%d of %d: %v", len(all), n, err)
		}
		all = append(all, m)
	}
	return all
}
