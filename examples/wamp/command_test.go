package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestCommandLine is about what a person gets who tries the launcher.
func TestCommandLine(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args   []string
		code   int
		stdout string
		stderr string // a part of it
	}{
		"in one process":            {[]string{"rpc/complex"}, 0, "the sum is 6 + 8i\nforename Homer, surname Simpson\n", ""},
		"in another realm":          {[]string{"--realm", "realm1", "pubsub/unsubscribe"}, 0, "tick 1\ntick 2\ntick 4\n", ""},
		"help":                      {[]string{"--help"}, 0, "", "go run ./examples/wamp --url ws://127.0.0.1:8080/ws beginner backend"},
		"help lists the examples":   {[]string{"-h"}, 0, "", "login/scram          login by SCRAM"},
		"nothing":                   {nil, 2, "", "expected: EXAMPLE [backend|frontend]\nTry --help."},
		"too much":                  {[]string{"beginner", "backend", "frontend"}, 2, "", "expected: EXAMPLE"},
		"an unknown example":        {[]string{"rpc/nothing"}, 2, "", `there is no example "rpc/nothing"`},
		"an unknown side":           {[]string{"beginner", "middle"}, 2, "", `"middle" is no side of an example; allowed: backend, frontend`},
		"an unknown flag":           {[]string{"--router", "x", "beginner"}, 2, "", "-router"},
		"a side without a router":   {[]string{"beginner", "backend"}, 2, "", "--url"},
		"a side that is not there":  {[]string{"--url", "ws://127.0.0.1:1", "login/ticket", "backend"}, 2, "", "login/ticket has no backend"},
		"an unknown serializer":     {[]string{"--serializer", "xml", "beginner"}, 2, "", "allowed: json, msgpack, cbor"},
		"a certificate without key": {[]string{"--cert", "x.pem", "beginner"}, 2, "", "--cert and --key belong together"},
		"a file that is not there":  {[]string{"--url", "wss://127.0.0.1:1", "--ca", "missing.pem", "beginner"}, 1, "", "missing.pem"},
		"no URL":                    {[]string{"--url", "127.0.0.1:8080", "beginner"}, 1, "", "the URL is malformed"},
		"an unknown transport":      {[]string{"--url", "http://127.0.0.1:8080", "beginner"}, 1, "", "http"},
		"nobody there":              {[]string{"--url", "rs://127.0.0.1:1", "beginner"}, 1, "", "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			code := command(within(t), c.args, &stdout, &stderr)
			if code != c.code || stdout.String() != c.stdout || !strings.Contains(stderr.String(), c.stderr) {
				t.Errorf("exit code %d, printed %q and %q", code, stdout.String(), stderr.String())
			}
		})
	}
}
