// Command startup starts bin/gantry with the demo configuration, as make run
// does, on ports of its own and prints how long it takes to accept clients and to
// publish its first reading, its memory when idle, and how long it takes to stop.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	idle  = 10 * time.Second // before memory is read
	limit = 20 * time.Second // for each step
)

func main() {
	if err := measure(); err != nil {
		fmt.Fprintln(os.Stderr, "startup:", err)
		os.Exit(1)
	}
}

func measure() (err error) {
	state, err := os.MkdirTemp("", "gantry-startup-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(state)
	addr, err := freePort()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(context.Background(), "bin/gantry", "run", "--config", filepath.Join("examples", "demo"),
		"--state", state, "--listen", addr, "--mqtt-listen", "127.0.0.1:0", "--log-level", "error")
	cmd.Stderr = os.Stderr
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		// After an orderly end there is nothing to kill.
		if cmd.ProcessState == nil {
			err = errors.Join(err, cmd.Process.Kill(), cmd.Wait())
		}
	}()
	if err := until(func() bool {
		c, err := net.Dial("tcp", addr)
		return err == nil && c.Close() == nil
	}); err != nil {
		return fmt.Errorf("accepting: %w", err)
	}
	accepting := time.Since(begun)
	if err := until(func() bool { return published(addr) > 0 }); err != nil {
		return fmt.Errorf("first reading: %w", err)
	}
	reading := time.Since(begun)
	time.Sleep(idle)
	rss, peak, err := memory(cmd.Process.Pid)
	if err != nil {
		return err
	}
	stopping := time.Now()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	fmt.Printf("start to accepting      %6.0f ms   (budget 300 ms)\n", milliseconds(accepting))
	fmt.Printf("start to first reading  %6.0f ms   (budget 1000 ms)\n", milliseconds(reading))
	fmt.Printf("idle RSS after 10 s     %6.1f MiB  (budget 25 MiB; peak %.1f MiB)\n", mebibytes(rss), mebibytes(peak))
	fmt.Printf("SIGTERM to exit         %6.0f ms   (budget 5000 ms)\n", milliseconds(time.Since(stopping)))
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func mebibytes(kib int) float64 { return float64(kib) / 1024 }

// freePort returns an address that nobody listens on now.
func freePort() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

// until asks every millisecond.
func until(done func() bool) error {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if done() {
			return nil
		}
	}
	return fmt.Errorf("not within %v", limit)
}

// published returns the events that the gateway's devices have published.
func published(addr string) (n float64) {
	resp, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(body)) {
		if value, ok := strings.CutPrefix(line, `gantry_device_published_total{device="greenhouse"} `); ok {
			n, _ = strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return n
}

// memory returns the resident memory of a process and its peak in KiB (proc(5)).
func memory(pid int) (rss, peak int, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(line, ":")
		n, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
		switch name {
		case "VmRSS":
			rss = n
		case "VmHWM":
			peak = n
		}
	}
	return rss, peak, nil
}
