// Command wamp runs the examples below it. It is the one launcher of all: the same
// components run inside a router of this process, or at a router elsewhere that
// --url names.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"

	"gantry/wamp"
	"gantry/wamp/transport"
)

const usage = `Usage: go run ./examples/wamp [FLAGS] EXAMPLE [backend|frontend]

In one process, with a router of its own:
  go run ./examples/wamp beginner
At a router elsewhere, such as bin/gantry run --config examples/wamp/gantry.toml:
  go run ./examples/wamp --url ws://127.0.0.1:8080/ws beginner
One side only, with the other in Python or JavaScript:
  go run ./examples/wamp --url ws://127.0.0.1:8080/ws beginner backend

Flags:
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(command(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// options are what the command line says.
type options struct {
	url, realm, serializer, ca, cert, key string

	example example
	side    string // "" is both
}

// command is the program: it returns the exit code, 0, 1 for what went wrong and 2
// for what was asked wrongly.
func command(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	if err == nil {
		err = o.run(ctx, &lines{w: stdout}, slog.New(slog.NewTextHandler(stderr, nil)))
	}
	var wrong *usageError
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case errors.As(err, &wrong):
		fmt.Fprintf(stderr, "%v\nTry --help.\n", wrong)
		return 2
	case err != nil:
		fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}

// usageError is a mistake on the command line.
type usageError struct{ text string }

// Error returns what is wrong, and what is allowed.
func (e *usageError) Error() string { return e.text }

func parse(args []string, stderr io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("wamp", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&o.url, "url", "", "the `URL` of a router: ws://127.0.0.1:8080/ws, rs://127.0.0.1:8080 ...")
	flags.StringVar(&o.realm, "realm", "gantry", "the `realm` to join")
	flags.StringVar(&o.serializer, "serializer", "", "`json`, msgpack or cbor; by default what the router takes")
	flags.StringVar(&o.ca, "ca", "", "the `file` of the certificate that a router with TLS is trusted by")
	flags.StringVar(&o.cert, "cert", "", "the `file` of a client certificate to show")
	flags.StringVar(&o.key, "key", "", "the `file` of its key")
	err = flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		flags.SetOutput(stderr)
		fmt.Fprint(stderr, usage)
		flags.PrintDefaults()
		fmt.Fprintln(stderr, "\nExamples:")
		for _, e := range examples() {
			fmt.Fprintf(stderr, "  %-20s %s\n", e.name, e.shows)
		}
		return o, err
	case err != nil:
		return o, &usageError{err.Error()}
	case flags.NArg() < 1 || flags.NArg() > 2:
		return o, &usageError{"expected: EXAMPLE [backend|frontend]"}
	}
	all := examples()
	i := slices.IndexFunc(all, func(e example) bool { return e.name == flags.Arg(0) })
	if i < 0 {
		return o, &usageError{fmt.Sprintf("there is no example %q", flags.Arg(0))}
	}
	o.example, o.side = all[i], flags.Arg(1)
	switch {
	case o.side != "" && o.side != "backend" && o.side != "frontend":
		return o, &usageError{fmt.Sprintf("%q is no side of an example; allowed: backend, frontend", o.side)}
	case o.side == "backend" && o.example.backend == nil:
		return o, &usageError{fmt.Sprintf("%s has no backend: the router is the other side", o.example.name)}
	case o.side != "" && o.url == "":
		return o, &usageError{"one side alone needs a router: --url"}
	case o.serializer != "" && formats[o.serializer] == wamp.NoFormat:
		return o, &usageError{fmt.Sprintf("%q is no serializer; allowed: json, msgpack, cbor", o.serializer)}
	case (o.cert == "") != (o.key == ""):
		return o, &usageError{"--cert and --key belong together"}
	}
	return o, nil
}

func (o *options) run(ctx context.Context, out io.Writer, log *slog.Logger) error {
	run := func(p place) error {
		switch o.side {
		case "backend":
			return p.runBackend(ctx, o.example, out, func() { fmt.Fprintln(out, "ready") })
		case "frontend":
			return p.runFrontend(ctx, o.example, out)
		}
		return p.runBoth(ctx, o.example, out, out)
	}
	if o.url == "" {
		return embedded(ctx, wamp.URI(o.realm), log, run)
	}
	p, err := o.remote(log)
	if err != nil {
		return err
	}
	return run(p)
}

var formats = map[string]wamp.Format{"json": wamp.JSON, "msgpack": wamp.MsgPack, "cbor": wamp.CBOR}

// remote is the place that the flags name.
func (o *options) remote(log *slog.Logger) (place, error) {
	var cfg transport.DialConfig
	if o.serializer != "" {
		cfg.Formats = []wamp.Format{formats[o.serializer]}
	}
	var err error
	if cfg.TLS, err = o.tls(); err != nil {
		return place{}, err
	}
	return remote(o.url, cfg, wamp.URI(o.realm), log), nil
}

// tls returns what the flags say about TLS; nil when they say nothing.
func (o *options) tls() (*tls.Config, error) {
	if o.ca == "" && o.cert == "" {
		return nil, nil
	}
	cfg := &tls.Config{}
	if o.ca != "" {
		pem, err := os.ReadFile(o.ca)
		if err != nil {
			return nil, err
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", o.ca)
		}
	}
	if o.cert != "" {
		pair, err := tls.LoadX509KeyPair(o.cert, o.key)
		if err != nil {
			return nil, err
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

// lines lets two components write lines to the same place.
type lines struct {
	mu sync.Mutex // guards w
	w  io.Writer
}

// Write writes what one call of fmt.Fprint prints.
func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}
