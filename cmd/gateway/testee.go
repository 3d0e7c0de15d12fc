package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"gantry/wamp/websocket"
)

// testee is one side of a WebSocket that a conformance suite judges: whatever
// comes is sent back.
type testee struct {
	a      *app
	agent  string
	config websocket.Config
}

func (a *app) testeeCommand() *cobra.Command {
	t := testee{a: a}
	var (
		listen, connect string
		plain           bool
	)
	cmd := &cobra.Command{
		Use:   "testee {--listen ADDR | --connect URL}",
		Short: "Echo WebSocket messages, for conformance suites",
		Long: `Sends every WebSocket message back as it came, so that suites of other people can
judge how Gantry speaks WebSocket (RFC 6455) and compresses it (RFC 7692).

With --listen it is a server. It prints its URL, takes connections on every path and
from every origin, and runs until it is interrupted. Point a fuzzing client at it.

With --connect it is a client that works through the cases of a fuzzing server, the
way the server of the Autobahn testsuite expects it:

  URL/getCaseCount           answers with a text that holds the number of cases
  URL/runCase?case=N&agent=A is case N, for N from 1; the client echoes until the end
  URL/updateReports?agent=A  tells the server that this was all

What the verdict is, only the suite knows; a case that ends in an error is none of
the testee's. No pings are sent, since a suite would take them for a fault.

Do not leave it open to strangers: it is an echo without logins.

Exit codes: 0 all cases have been run, 1 failed, 2 wrong usage, 3 no connection to
the fuzzing server, 130 interrupted, which is how a server ends.`,
		Example: `  gantry testee --listen 127.0.0.1:9001
  gantry testee --connect ws://127.0.0.1:9001 --agent gantry-1.0`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&listen, "listen", "", "be a server on `ADDR`, HOST:PORT; port 0 chooses one")
	cmd.Flags().StringVar(&connect, "connect", "", "be a client of the fuzzing server at `URL`, ws or wss")
	cmd.Flags().StringVar(&t.agent, "agent", "gantry", "what the client calls itself in the suite's report")
	cmd.Flags().BoolVar(&plain, "no-compression", false, "neither offer nor accept compression")
	cmd.Flags().IntVar(&t.config.MaxMessage, "max-message", 64<<20, "largest message in bytes, after inflating")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if (listen == "") == (connect == "") {
			return usageError{errors.New("testee needs either --listen ADDR or --connect URL")}
		}
		if t.config.MaxMessage < 1 {
			return usageError{fmt.Errorf("--max-message is %d, allowed is 1 or more", t.config.MaxMessage)}
		}
		t.config.PingInterval = -1
		t.config.Deflate, t.config.DeflateFrom = !plain, 1
		if connect != "" {
			if _, err := websocket.ParseURL(connect); err != nil {
				return usageError{fmt.Errorf("--connect: %w", err)}
			}
			return t.work(cmd.Context(), connect)
		}
		ln, err := (&net.ListenConfig{}).Listen(cmd.Context(), "tcp", listen)
		if err != nil {
			return fmt.Errorf("--listen: %w", err)
		}
		fmt.Fprintf(a.out, "echo on ws://%s/\n", ln.Addr())
		return t.serve(cmd.Context(), ln)
	}
	return cmd
}

// echo is what a testee does on a connection.
var echo = websocket.Handler{Message: func(c *websocket.Conn, op websocket.Opcode, b []byte) error { return c.Write(op, b) }}

// serve takes connections until ctx ends.
func (t *testee) serve(ctx context.Context, ln net.Listener) error {
	s := &websocket.Server{Config: t.config, Origins: []string{"*"}}
	s.Handle = func(c *websocket.Conn, _ *http.Request) {
		// How a case ends is the suite's to judge.
		_ = c.Run(ctx, echo)
	}
	if err := websocket.Serve(ctx, ln, s); err != nil {
		return err
	}
	return ctx.Err()
}

// work runs all cases of a fuzzing server.
func (t *testee) work(ctx context.Context, base string) error {
	n, err := t.count(ctx, base)
	if err != nil {
		return err
	}
	for i := range n {
		if err := t.visit(ctx, base, fmt.Sprintf("/runCase?case=%d&agent=%s", i+1, url.QueryEscape(t.agent))); err != nil {
			return err
		}
	}
	if err := t.visit(ctx, base, "/updateReports?agent="+url.QueryEscape(t.agent)); err != nil {
		return err
	}
	_, err = fmt.Fprintf(t.a.out, "%d cases run as %s\n", n, t.agent)
	return err
}

func (t *testee) dial(ctx context.Context, base, path string) (*websocket.Conn, error) {
	return (&websocket.Dialer{Config: t.config}).Dial(ctx, strings.TrimSuffix(base, "/")+path)
}

// count asks how many cases there are.
func (t *testee) count(ctx context.Context, base string) (int, error) {
	c, err := t.dial(ctx, base, "/getCaseCount")
	if err != nil {
		return 0, connectError{err}
	}
	defer c.Close(websocket.CloseNormal, "")
	_, b, err := c.Read()
	if err != nil {
		return 0, connectError{fmt.Errorf("number of cases: %w", err)}
	}
	n, err := strconv.Atoi(string(b))
	if err != nil || n < 0 {
		return 0, fmt.Errorf("number of cases is %q, expected a decimal number", b)
	}
	// The server closes; to wait for it keeps the order of its connections.
	_, _, err = c.Read()
	if err == nil {
		return 0, errors.New("the server goes on after it has told the number of cases")
	}
	return n, nil
}

// visit echoes on one connection. The error is that of ctx, or that nobody
// listens any more.
func (t *testee) visit(ctx context.Context, base, path string) error {
	c, err := t.dial(ctx, base, path)
	if err == nil {
		_ = c.Run(ctx, echo)
		return ctx.Err()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var refused *websocket.HandshakeError
	var unreached *net.OpError
	if !errors.As(err, &refused) && errors.As(err, &unreached) && unreached.Op == "dial" {
		return connectError{err}
	}
	return nil // a case may be one of a wrong answer
}
