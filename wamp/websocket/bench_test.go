package websocket_test

import (
	"fmt"
	"net/http"
	"runtime"
	"syscall"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"

	"gantry/wamp/websocket"
)

// cpu returns the processor time that the process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// plainEcho is the echo server of gorilla/websocket's own example.
func plainEcho(w http.ResponseWriter, r *http.Request) {
	c, err := (&gorilla.Upgrader{}).Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer c.Close()
	for {
		op, b, err := c.ReadMessage()
		if err != nil || c.WriteMessage(op, b) != nil {
			return
		}
	}
}

// echoes returns a function that has a message of n bytes echoed, by this package
// on both sides or by plain gorilla/websocket on both.
func echoes(tb testing.TB, n int, plain bool) func() error {
	tb.Helper()
	msg := make([]byte, n)
	if plain {
		c, _, err := gorilla.DefaultDialer.DialContext(tb.Context(), serveHTTP(tb, http.HandlerFunc(plainEcho)), nil)
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = c.Close() })
		return func() error {
			if err := c.WriteMessage(gorilla.BinaryMessage, msg); err != nil {
				return err
			}
			_, _, err := c.ReadMessage()
			return err
		}
	}
	s := &websocket.Server{Handle: func(c *websocket.Conn, _ *http.Request) { echo(c) }}
	c, err := (&websocket.Dialer{}).Dial(tb.Context(), serveHTTP(tb, s))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close(websocket.CloseNormal, "") })
	return func() error {
		if err := c.Write(websocket.Binary, msg); err != nil {
			return err
		}
		_, _, err := c.Read()
		return err
	}
}

var echoSizes = []int{16, 1 << 10, 64 << 10}

// BenchmarkEcho measures a message there and back, both sides in this process. It
// takes turns, 1000 echoes plain and 1000 of this package, so that both have the
// same machine, and reports the processor time of each and their ratio.
func BenchmarkEcho(b *testing.B) {
	for _, n := range echoSizes {
		b.Run(fmt.Sprintf("%d", n), func(b *testing.B) {
			each := [2]func() error{echoes(b, n, true), echoes(b, n, false)}
			var used [2]time.Duration
			const turn = 1000
			for done := 0; done < b.N; done += turn {
				for i := range each {
					k := (done/turn + i) % 2 // who begins alternates
					begin := cpu()
					for range turn {
						if err := each[k](); err != nil {
							b.Fatal(err)
						}
					}
					used[k] += cpu() - begin
				}
			}
			total := float64((b.N + turn - 1) / turn * turn)
			b.ReportMetric(float64(used[0])/total, "plain-cpu-ns/op")
			b.ReportMetric(float64(used[1])/total, "gantry-cpu-ns/op")
			b.ReportMetric(float64(used[1])/float64(used[0]), "ratio")
		})
	}
}

func TestAnEchoAllocatesNoMoreThanThatOfTheLibrary(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, n := range echoSizes {
		var allocs [2]float64
		for i, plain := range []bool{true, false} {
			one := echoes(t, n, plain)
			allocs[i] = allocations(t, one)
		}
		if allocs[1] > allocs[0]+1 {
			t.Errorf("%d bytes: %.1f allocations, the library has %.1f", n, allocs[1], allocs[0])
		}
		t.Logf("%d bytes: %.1f allocations, the library has %.1f", n, allocs[1], allocs[0])
	}
}

// allocations returns how often an echo allocates on both sides together.
func allocations(t *testing.T, one func() error) float64 {
	t.Helper()
	var before, after runtime.MemStats
	const rounds = 2000
	for i := range rounds + 100 {
		if i == 100 {
			runtime.ReadMemStats(&before)
		}
		if err := one(); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / rounds
}
