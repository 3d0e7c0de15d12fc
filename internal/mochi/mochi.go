// Package mochi runs the broker mochi-mqtt as a peer of tests. Its version is pinned in
// broker/go.mod, a module of its own, so that it is no dependency of the product.
package mochi

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"gantry/internal/gopeer"
)

// Build builds the broker and returns its path. It skips the test where the module cannot
// be had, or fails it where all peers have to be. The file is removed with the test.
func Build(t testing.TB) (program string) {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	program, err := gopeer.Build(t, filepath.Join(filepath.Dir(here), "broker"))
	if err != nil {
		const text = "module missing: github.com/mochi-mqtt/server/v2"
		if os.Getenv("GANTRY_REQUIRE_PEERS") == "1" {
			t.Fatal(text)
		}
		t.Skip(text)
	}
	return program
}

// Start runs a broker that Build has built and returns its address. It is killed at the
// end of the test.
func Start(t testing.TB, program string) (addr string) {
	t.Helper()
	cmd := exec.Command(program)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // the signal
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("mochi-mqtt does not start: %v", err)
	}
	return strings.TrimSpace(line)
}
