package interop

import (
	_ "embed" // peer.py
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"gantry/internal/gopeer"
)

// Kind is a library that other people wrote.
type Kind struct {
	Name string
	// Version is the one that is installed; Debian's may be another elsewhere.
	Version string
	Links   []Link // what it speaks
	// Methods are those by which it logs in.
	Methods []string
	// Lacks says why the library has not what others have: by scheme, method,
	// method/KDF, or one of the words Reason and OpenPattern.
	Lacks map[string]string
	// command returns the program that drives it, with its arguments. Where that
	// cannot be had the error names the package that is missing.
	command func(t testing.TB) ([]string, error)
}

// What libraries lack besides transports and methods.
const (
	// Reason is the URI with which a wrong proof is refused.
	Reason = "reason"
	// OpenPattern is a pattern that ends in a dot.
	OpenPattern = "pattern"
)

// Link is a transport, with a serializer, json, msgpack or cbor; over WebSocket also
// with .batched behind it, several messages in a frame. The transports are ws and rs, wss and rss with TLS, rs+unix, and lp and lps, which is HTTP
// long-poll.
type Link struct{ Scheme, Serializer string }

// String returns for example "ws/json".
func (l Link) String() string { return l.Scheme + "/" + l.Serializer }

// TLS reports whether the link is encrypted.
func (l Link) TLS() bool { return l.Scheme == "wss" || l.Scheme == "rss" || l.Scheme == "lps" }

// Schemes returns every transport that a library could have.
func Schemes() []string { return []string{"ws", "wss", "rs", "rss", "rs+unix", "lp", "lps"} }

// Methods returns every method by which a library could log in.
func Methods() []string {
	return []string{"anonymous", "ticket", "wampcra", "scram", "cryptosign", "tls"}
}

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

const noLongPoll = "no client for long-poll"

// AutobahnPython is Debian's python3-autobahn.
func AutobahnPython() Kind {
	return Kind{
		Name: "autobahn-python", Version: "22.7.1",
		Links:   append(links("ws", "wss", "rs", "rss", "rs+unix"), Link{"ws", "json.batched"}, Link{"ws", "msgpack.batched"}, Link{"ws", "cbor.batched"}),
		Methods: Methods(),
		Lacks: map[string]string{
			"lp": noLongPoll, "lps": noLongPoll,
			"scram/pbkdf2": "gives its PBKDF2 the salt as text, which that refuses (ValueError: Invalid argument types)",
		},
		command: pythonCommand,
	}
}

// AutobahnJS is the package autobahn of npm.
func AutobahnJS() Kind {
	return Kind{
		Name: "autobahn-js", Version: "26.3.1",
		Links:   append(links("ws", "wss"), Link{"rs", "json"}, Link{"rs+unix", "json"}, Link{"lp", "json"}, Link{"lps", "json"}),
		Methods: []string{"anonymous", "ticket", "wampcra", "cryptosign", "tls"},
		Lacks: map[string]string{
			"rss":   "RawSocket without TLS",
			"scram": "no SCRAM",
		},
		command: nodeCommand("autobahn"),
	}
}

// Wampy is the package wampy of npm.
func Wampy() Kind {
	const webSocketOnly = "WebSocket only"
	return Kind{
		Name: "wampy", Version: "8.0.2",
		Links:   links("ws", "wss"),
		Methods: []string{"anonymous", "ticket", "wampcra", "cryptosign", "tls"},
		Lacks: map[string]string{
			"rs": webSocketOnly, "rss": webSocketOnly, "rs+unix": webSocketOnly, "lp": webSocketOnly, "lps": webSocketOnly,
			"scram":     "no SCRAM",
			OpenPattern: "patterns that end in a dot or begin with one are refused: prefixes work without the dot",
		},
		command: nodeCommand("wampy"),
	}
}

// Nexus is the client of the Go module github.com/gammazero/nexus/v3.
func Nexus() Kind {
	return Kind{
		Name: "nexus", Version: "3.3.0",
		Links:   links("ws", "wss", "rs", "rss", "rs+unix"),
		Methods: []string{"anonymous", "ticket", "wampcra", "tls"},
		Lacks: map[string]string{
			"lp": noLongPoll, "lps": noLongPoll,
			"scram": "no SCRAM", "cryptosign": "no signer for cryptosign in its client",
			Reason: "of a wrong proof only the text of ABORT is told, not the URI",
		},
		command: nexusCommand,
	}
}

// Need returns the library ready to be started for as long as the test runs. When
// it is not installed the test is skipped, or fails where peers are required.
func (k Kind) Need(t testing.TB) *Library {
	t.Helper()
	command, err := k.command(t)
	if err != nil {
		Missing(t, err.Error())
	}
	return &Library{command: command}
}

// Missing skips the test for something that is not installed, or fails it where
// peers are required.
func Missing(t testing.TB, text string) {
	t.Helper()
	if os.Getenv("GANTRY_REQUIRE_PEERS") == "1" {
		t.Fatal(text)
	}
	t.Skip(text)
}

// Python is the interpreter that sees Debian's packages.
const Python = "/usr/bin/python3"

//go:embed peer.py
var peerProgram string

func pythonCommand(testing.TB) ([]string, error) {
	for _, c := range []struct{ program, missing string }{
		{"from autobahn.wamp.serializer import CBORSerializer, MsgPackSerializer", "python3-autobahn or python3-cbor2"},
		{"from autobahn.wamp.auth import HAS_ARGON; assert HAS_ARGON", "python3-argon2"},
	} {
		if exec.Command(Python, "-c", c.program).Run() != nil {
			return nil, errors.New("package missing: " + c.missing)
		}
	}
	return []string{Python, "-c", peerProgram}, nil
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

func nexusCommand(t testing.TB) ([]string, error) {
	program, err := gopeer.Build(t, source("nexus"))
	if err != nil {
		return nil, errors.New("module missing: github.com/gammazero/nexus/v3")
	}
	return []string{program}, nil
}
