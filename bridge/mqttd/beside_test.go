package mqttd_test

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"gantry/bridge/mqttd"
	"gantry/internal/mochi"
	"gantry/internal/mosquitto"
)

// statement is something that the specification asks of a server, as a scenario. The
// scenario knows no server, so that others can be judged by it, too.
type statement struct {
	name string // begins with the version and the number of the statement, or the section
	run  func(t testing.TB, w *world)
}

// statements are all of them, by their name with the version.
func statements() []statement {
	var all []statement
	for _, s := range fourCases {
		all = append(all, statement{"3.1.1 " + s.name, s.run})
	}
	for _, s := range fiveCases {
		all = append(all, statement{"5 " + s.name, s.run})
	}
	return all
}

// server is one that statements are put to.
type server struct {
	name string
	// start runs one for a test.
	start func(t testing.TB) *world
	// otherwise says what it does in place of what a statement asks. What begins with
	// "sometimes" it may do.
	otherwise map[string]string
	// pinned: its version is always the same, and so are the differences.
	pinned bool
	// tries is how often it may differ from what it is known to do before that counts: what
	// comes of races between others' goroutines is not ours to tell.
	tries int
}

// brokers are those that are judged beside the listener.
func brokers(t *testing.T) []server {
	network := func(t testing.TB, addr string) *world {
		return &world{t: t, addr: addr, dial: func() net.Conn {
			nc, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			return nc
		}}
	}
	program := mochi.Build(t)
	return []server{
		{"Mosquitto", func(t testing.TB) *world { return network(t, mosquitto.NewBroker(t).Addr) }, mosquittoOtherwise, false, 5},
		{"mochi-mqtt", func(t testing.TB) *world { return network(t, mochi.Start(t, program)) }, mochiOtherwise, true, 5},
	}
}

// verdict takes what a scenario says in place of a test.
type verdict struct {
	testing.TB
	said []string
}

func (v *verdict) Error(args ...any) { v.said = append(v.said, fmt.Sprint(args...)) }
func (v *verdict) Errorf(format string, args ...any) {
	v.said = append(v.said, fmt.Sprintf(format, args...))
}

func (v *verdict) Fatal(args ...any) {
	v.Error(args...)
	runtime.Goexit()
}

func (v *verdict) Fatalf(format string, args ...any) {
	v.Errorf(format, args...)
	runtime.Goexit()
}

// judge puts a statement to a server and returns what there is to say against it.
func (s *server) judge(t *testing.T, what statement) []string {
	v := &verdict{TB: t}
	w := s.start(t)
	w.t = v
	if s.otherwise[what.name] != "" {
		w.patience = 500 * time.Millisecond // the answer may be none
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		what.run(v, w)
	}()
	<-done
	return v.said
}

// differs says how a server has not done what it is known to do; "" if it has.
func (s *server) differs(what statement, said []string) string {
	otherwise := s.otherwise[what.name]
	switch {
	case otherwise == "" && len(said) > 0:
		return fmt.Sprintf("%s: %s", s.name, strings.Join(said, "; "))
	case otherwise != "" && len(said) == 0 && s.pinned && !strings.HasPrefix(otherwise, "sometimes"):
		return fmt.Sprintf("%s does what is asked, and not: %s", s.name, otherwise)
	}
	return ""
}

// hold puts every statement to a server, which does what it asks, or what is said to be
// otherwise.
func (s *server) hold(t *testing.T) {
	for _, what := range statements() {
		t.Run(what.name, func(t *testing.T) {
			t.Parallel()
			for try := 1; ; try++ {
				wrong := s.differs(what, s.judge(t, what))
				if wrong == "" {
					return
				}
				if try >= s.tries {
					t.Error(wrong)
					return
				}
				t.Log("once more: ", wrong)
			}
		})
	}
}

// listener is the server that this package is about.
var listener = server{"the listener", func(t testing.TB) *world { return newWorld(t, mqttd.Config{}, false) }, ownOtherwise, true, 1}

func TestStatements(t *testing.T) {
	t.Parallel()
	listener.hold(t)
}

// TestBrokersBeside puts the same statements to other brokers, so that what the scenarios
// expect is not only our own reading of the specification.
func TestBrokersBeside(t *testing.T) {
	t.Parallel()
	for _, b := range brokers(t) {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			b.hold(t)
		})
	}
}

// TestDocsStateTheStatements compares the table of docs/mqtt-conformance.md.
func TestDocsStateTheStatements(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/mqtt-conformance.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	answer := func(otherwise map[string]string, name string) string {
		if text := otherwise[name]; text != "" {
			return text
		}
		return "as asked"
	}
	n := 0
	for _, what := range statements() {
		row := fmt.Sprintf("| %s | %s | %s | %s |", what.name, answer(ownOtherwise, what.name), answer(mosquittoOtherwise, what.name), answer(mochiOtherwise, what.name))
		if n++; !slices.Contains(lines, row) {
			t.Errorf("not there:\n%s", row)
		}
	}
	for _, m := range []map[string]string{ownOtherwise, mosquittoOtherwise, mochiOtherwise} {
		for name := range m {
			if !slices.ContainsFunc(statements(), func(s statement) bool { return s.name == name }) {
				t.Errorf("there is no statement %q", name)
			}
		}
	}
	if !strings.Contains(string(text), fmt.Sprintf("%d statements", n)) {
		t.Errorf("there are %d statements", n)
	}
}
