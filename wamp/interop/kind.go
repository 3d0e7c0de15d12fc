package interop

import (
	_ "embed" // peer.py
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// Kind is a library that other people wrote.
type Kind struct {
	Name  string
	Links []Link // what it speaks
	// command returns the program that drives it, with its arguments. Where that
	// cannot be had the error names the package that is missing.
	command func(t testing.TB) ([]string, error)
}

// Link is a transport, ws or rs, with a serializer, json, msgpack or cbor.
type Link struct{ Scheme, Serializer string }

// String returns for example "ws/json".
func (l Link) String() string { return l.Scheme + "/" + l.Serializer }

func links(schemes ...string) (all []Link) {
	for _, scheme := range schemes {
		for _, serializer := range []string{"json", "msgpack", "cbor"} {
			all = append(all, Link{scheme, serializer})
		}
	}
	return all
}

// Kinds returns every library that tests can drive.
func Kinds() []Kind { return []Kind{AutobahnPython(), AutobahnJS(), Wampy(), Nexus()} }

// AutobahnPython is Debian's python3-autobahn.
func AutobahnPython() Kind { return Kind{"autobahn-python", links("ws", "rs"), pythonCommand} }

// AutobahnJS is the package autobahn of npm. Its RawSocket knows JSON only.
func AutobahnJS() Kind {
	return Kind{"autobahn-js", append(links("ws"), Link{"rs", "json"}), nodeCommand("autobahn")}
}

// Wampy is the package wampy of npm.
func Wampy() Kind { return Kind{"wampy", links("ws"), nodeCommand("wampy")} }

// Nexus is the client of the Go module github.com/gammazero/nexus/v3.
func Nexus() Kind { return Kind{"nexus", links("ws", "rs"), nexusCommand} }

// Need returns the library ready to be started for as long as the test runs. When
// it is not installed the test is skipped, or fails where peers are required.
func (k Kind) Need(t testing.TB) *Library {
	t.Helper()
	command, err := k.command(t)
	switch {
	case err == nil:
	case os.Getenv("GANTRY_REQUIRE_PEERS") == "1":
		t.Fatal(err)
	default:
		t.Skip(err)
	}
	return &Library{command: command}
}

// python is the interpreter that sees Debian's packages.
const python = "/usr/bin/python3"

//go:embed peer.py
var peerProgram string

func pythonCommand(testing.TB) ([]string, error) {
	check := exec.Command(python, "-c", "from autobahn.wamp.serializer import CBORSerializer, MsgPackSerializer")
	if check.Run() != nil {
		return nil, errors.New("package missing: python3-autobahn or python3-cbor2")
	}
	return []string{python, "-c", peerProgram}, nil
}

// source returns the path of a file that lies beside this one.
func source(elem ...string) string {
	_, here, _, _ := runtime.Caller(0)
	return filepath.Join(append([]string{filepath.Dir(here)}, elem...)...)
}

func nodeCommand(library string) func(testing.TB) ([]string, error) {
	return func(testing.TB) ([]string, error) {
		node, err := exec.LookPath("node")
		if err != nil {
			return nil, errors.New("package missing: nodejs")
		}
		if _, err := os.Stat(source("js", "node_modules", library, "package.json")); err != nil {
			return nil, errors.New("npm package missing: " + library)
		}
		return []string{node, source("js", "peer.js"), library}, nil
	}
}

// nexusCommand builds the program, which lies in a module of its own so that the
// library is no dependency of the product.
func nexusCommand(t testing.TB) ([]string, error) {
	program := filepath.Join(t.TempDir(), "nexus")
	for _, args := range [][]string{{"mod", "download"}, {"build", "-o", program, "."}} {
		cmd := exec.Command("go", args...)
		cmd.Dir = source("nexus")
		// For this machine, whatever the test was built for.
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=", "GOFLAGS=-mod=readonly", "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			if args[0] == "mod" {
				return nil, errors.New("module missing: github.com/gammazero/nexus/v3")
			}
			t.Fatalf("go %v: %v\n%s", args, err, out)
		}
	}
	return []string{program}, nil
}
