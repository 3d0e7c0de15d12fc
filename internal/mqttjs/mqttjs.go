// Package mqttjs drives MQTT.js, the MQTT client of npm, as a peer of tests: in Node.js,
// and its build for browsers. Its version is pinned in js/package-lock.json.
package mqttjs

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"gantry/internal/mosquitto"
)

// source returns the path of a file below js.
func source(elem ...string) string {
	_, here, _, _ := runtime.Caller(0)
	return filepath.Join(append([]string{filepath.Dir(here), "js"}, elem...)...)
}

// Browser returns the path of the build for browsers, whose global is mqtt. It skips the
// test without MQTT.js, or fails it where all peers have to be.
func Browser(t testing.TB) string {
	t.Helper()
	file := source("node_modules", "mqtt", "dist", "mqtt.min.js")
	if _, err := os.Stat(file); err != nil {
		const text = "npm package missing: mqtt (npm ci in internal/mqttjs/js)"
		if os.Getenv("GANTRY_REQUIRE_PEERS") == "1" {
			t.Fatal(text)
		}
		t.Skip(text)
	}
	return file
}

// Run has Node.js run a script of js, and makes a test of each case that it tells of in a
// line of JSON with a name, and an error if there was one. It returns when the script has
// ended. The test is skipped where Node.js or MQTT.js is missing, or fails where all peers
// have to be.
func Run(t *testing.T, script string, args ...string) {
	t.Helper()
	node := mosquitto.Need(t, "node", "nodejs")
	Browser(t)
	cmd := exec.CommandContext(t.Context(), node, append([]string{source(script)}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n := 0
	for sc := bufio.NewScanner(out); sc.Scan(); n++ {
		var line struct{ Name, Error string }
		if err := json.Unmarshal(sc.Bytes(), &line); err != nil {
			t.Errorf("%q: %v", sc.Text(), err)
			continue
		}
		t.Run(line.Name, func(t *testing.T) {
			if line.Error != "" {
				t.Error(line.Error)
			}
		})
	}
	if err := cmd.Wait(); err != nil || n == 0 {
		t.Errorf("%s: %d cases, %v", script, n, err)
	}
}
