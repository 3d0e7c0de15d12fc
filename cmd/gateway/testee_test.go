package main

import (
	"context"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"

	"gantry/internal/mosquitto"
	"gantry/wamp/websocket/conformance"
)

// testeeCases are enough of the cases to see that the right program is judged.
func testeeCases(suits func(conformance.Case) bool) []conformance.Case {
	var some []conformance.Case
	for i, c := range conformance.Cases() {
		if i%7 == 0 && suits(c) {
			some = append(some, c)
		}
	}
	return some
}

// testeeApp is a command line whose output can be read while it runs.
func testeeApp(out io.Writer) *app { return newApp(strings.NewReader(""), out, io.Discard, os.Getenv) }

func TestTesteeWorksThroughAFuzzingServer(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	e := conformance.Endpoint{Limit: 700_000}
	cases := testeeCases(func(c conformance.Case) bool { return c.ForClient(e) })
	if len(cases) < 50 {
		t.Fatalf("%d cases", len(cases))
	}
	out, code := newOutput(), make(chan int, 1)
	go func() {
		code <- testeeApp(out).main(context.Background(),
			[]string{"testee", "--connect", "ws://" + ln.Addr().String(), "--agent", "gantry test", "--max-message", "700000"})
	}()
	conformance.FuzzingServer{Endpoint: e, Cases: cases}.Serve(t, ln.(*net.TCPListener))
	if got := <-code; got != exitOK || !strings.Contains(out.String(), "cases run as gantry test") {
		t.Errorf("exit code %d, said %q", got, out)
	}
}

func TestTesteeServes(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	out, code := newOutput(), make(chan int, 1)
	go func() {
		code <- testeeApp(out).main(ctx, []string{"testee", "--listen", "127.0.0.1:0", "--max-message", "700000"})
	}()
	defer func() {
		cancel()
		if got := <-code; got != exitInterrupted {
			t.Errorf("exit code %d", got)
		}
	}()
	out.await(t, "/\n")
	addr := regexp.MustCompile(`ws://(.*)/`).FindStringSubmatch(out.String())[1]
	e := conformance.Endpoint{Limit: 700_000}
	for _, c := range testeeCases(func(c conformance.Case) bool { return c.ForServer(e) }) {
		t.Run(c.Group+"/"+c.Name, func(t *testing.T) {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			c.JudgeServer(t, conn, e)
		})
	}
}

func TestTesteeTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	addr := mosquitto.FreeAddr(t)
	for _, tt := range []struct {
		args []string
		code int
	}{
		{[]string{"testee"}, exitUsage},
		{[]string{"testee", "--listen", addr, "--connect", "ws://" + addr}, exitUsage},
		{[]string{"testee", "--listen", addr, "--max-message", "0"}, exitUsage},
		{[]string{"testee", "--listen", "no such address"}, exitFailed},
		{[]string{"testee", "--connect", "ws://" + addr}, exitNoRouter},
		{[]string{"testee", "--connect", "http://" + addr}, exitUsage},
	} {
		if got := testeeApp(io.Discard).main(t.Context(), tt.args); got != tt.code {
			t.Errorf("%q: exit code %d, expected %d", tt.args, got, tt.code)
		}
	}
}
