package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"gantry/internal/guest"
	"gantry/wamp"
	"gantry/wamp/serialize"
)

// playNode is a board at the far end of a serial line: it sends a temperature every
// 50 ms and obeys "LED 1", until it is unplugged.
func playNode(far net.Conn, celsius int) (done chan struct{}) {
	done = make(chan struct{})
	led := make(chan string)
	go func() {
		defer close(led)
		for in := bufio.NewScanner(far); in.Scan(); {
			led <- in.Text()
		}
	}()
	go func() {
		defer close(done)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				// What cannot be written is noticed by the reader.
				_, _ = fmt.Fprintf(far, "{\"t\":%d}\n", celsius)
			case command, open := <-led:
				if !open {
					return
				}
				_, _ = io.WriteString(far, "OK "+command+"\n")
			}
		}
	}()
	return done
}

// TestKernelPortReplug has a USB adapter that is plugged in and out fifty times under a
// gateway with its usual settings.
func TestKernelPortReplug(t *testing.T) {
	const byID = "/dev/serial/by-id/usb-QEMU_QEMU_USB_SERIAL_HIL0-if00-port0"
	far := guest.PlugUSB(t)
	node := playNode(far, 0)
	p := startProgram(t, writeFiles(t, map[string]string{
		"gantry.toml": "schema = 1\ngateway.name = \"field\"\nmqtt.listen = \"\"\n",
		"devices.d/node.toml": fmt.Sprintf(`[device.node]
driver = "line"
port = { path = %q }
parse = { json = true }
point.temperature = { from = "t", type = "int" }
point.led = { type = "bool", write = { template = "LED {value}\n", ack = '^OK LED (?P<value>[01])$' } }
`, byID)}), t.TempDir())
	s := p.join()
	seen := keep(t, s, "gantry.field.", wamp.SubscribeOptions{GetRetained: true})
	measures := func(celsius int) {
		t.Helper()
		seen.await(t, fmt.Sprint("a temperature of ", celsius), func(e event) bool {
			return e.topic == "gantry.field.point.node.temperature" && e.value == int64(celsius)
		})
	}
	measures(0)
	var longest, sum time.Duration
	const cycles = 50
	for n := 1; n <= cycles; n++ {
		far.Close()
		<-node
		seen.await(t, fmt.Sprint("loss number ", n), func(e event) bool {
			return e.topic == "gantry.field.state.node.link" && e.value == "offline" && countOffline(seen) >= n
		})
		for exists(byID) {
			time.Sleep(time.Millisecond)
		}
		far = guest.PlugUSB(t)
		node = playNode(far, n)
		for late := time.Now().Add(patience); !exists(byID); time.Sleep(time.Millisecond) {
			if time.Now().After(late) {
				t.Fatalf("cycle %d: no %s", n, byID)
			}
		}
		there := time.Now()
		measures(n)
		took := time.Since(there)
		sum += took
		longest = max(longest, took)
	}
	t.Logf("a reading %v after the adapter's link on average, %v at most", sum/cycles, longest)
	if longest > 2*time.Second {
		t.Error("that is more than 2 s")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	got, err := s.Call(ctx, "gantry.field.set.node.led", wamp.CallOptions{}, wamp.Args(true))
	if err != nil {
		t.Fatal(err)
	}
	if args, _, err := serialize.Values(got); err != nil || len(args) != 1 || args[0] != true {
		t.Errorf("set: %v, %v", args, err)
	}
	far.Close()
	<-node
	p.stop()
	if said := p.out.String(); strings.Contains(said, "panic") {
		t.Error(said)
	}
}

func countOffline(l *ledger) (n int) {
	for _, e := range l.all() {
		if e.topic == "gantry.field.state.node.link" && e.value == "offline" {
			n++
		}
	}
	return n
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }
