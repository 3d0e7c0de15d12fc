package http_test

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gantry/drivers"
	"gantry/internal/mosquitto"

	"github.com/google/go-cmp/cmp"
)

// device runs a device that prints its port, until the test ends, and returns its URL.
func device(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // the signal
	})
	port, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return "http://127.0.0.1:" + strings.TrimSpace(port)
}

const thermostatText = `
url = "URL"
user = "me"
password = "PASSWORD"
[request.state]
path = "/state"
parse = { json = true }
[point.temperature]
from = "temperature"
[point.text]
from = "text"
type = "text"
[point.target]
from = "target"
write = { method = "PUT", path = "/target", body = '{"target":{value}}', from = "now.target" }
`

func TestDevicesInOtherLanguages(t *testing.T) {
	t.Parallel()
	for name, debian := range map[string]string{"python3": "python3", "node": "nodejs"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mosquitto.Need(t, name, debian)
			script := map[string]string{"python3": "testdata/device.py", "node": "testdata/device.js"}[name]
			url := device(t, name, script)
			file := filepath.Join(t.TempDir(), "password")
			if err := os.WriteFile(file, []byte("secret word\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			d, _ := start(t, strings.Replace(thermostatText, "PASSWORD", "file:"+file, 1), url)
			if diff := cmp.Diff([]any{20.0, "", 21.5, "", "grün", ""}, read(t, d, "target", "temperature", "text")); diff != "" {
				t.Error(diff)
			}
			if got, err := d.(drivers.Writer).Write(t.Context(), "target", 18.5); got != 18.5 || err != nil {
				t.Errorf("%v, %v", got, err)
			}
			if diff := cmp.Diff([]any{18.5, ""}, read(t, d, "target")); diff != "" {
				t.Error(diff)
			}
			if _, err := d.(drivers.Writer).Write(t.Context(), "target", 50.0); !errors.Is(err, drivers.ErrRefused) || !strings.Contains(err.Error(), "out of range") {
				t.Errorf("%v", err)
			}
			if err := os.WriteFile(file, []byte("wrong\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			d, _ = start(t, strings.Replace(thermostatText, "PASSWORD", "file:"+file, 1), url)
			if _, err := d.(drivers.Reader).Read(t.Context(), []string{"target"}); !errors.Is(err, drivers.ErrRefused) || !strings.Contains(err.Error(), "401") {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestOtherProgramsPost(t *testing.T) {
	t.Parallel()
	p := newPort(t)
	link := hooked(t, p, hookText, drivers.Env{})
	mosquitto.Need(t, "curl", "curl")
	out, err := exec.Command("curl", "-sS", "-H", "Authorization: Bearer "+secret, "-d", `{"env":{"t":-1.5e1}}`, p.URL+"/hook/dev").CombinedOutput()
	if string(out) != "ok\n" || err != nil {
		t.Errorf("%s, %v", out, err)
	}
	if r := link.WaitReading(t, "t", 0, nil); r.Value != -15.0 {
		t.Errorf("%+v", r)
	}
	out, err = exec.Command("curl", "-sS", "-w", " %{http_code}", "-d", `{"env":{"t":1}}`, p.URL+"/hook/dev").CombinedOutput()
	if string(out) != "who are you?\n 401" || err != nil {
		t.Errorf("%s, %v", out, err)
	}
	mosquitto.Need(t, "node", "nodejs")
	p = newPort(t)
	hooked(t, p, strings.Replace(hookText, "[point.t]", "[hook.signature]\nheader = \"X-Hub-Signature-256\"\nprefix = \"sha256=\"\n[point.t]", 1), drivers.Env{})
	for key, want := range map[string]string{secret: "200 ok\n", "wrong horse": "401 who are you?\n"} {
		out, err = exec.Command("node", "testdata/post.js", p.URL+"/hook/dev", key, `{"env":{"t":"1"}}`).CombinedOutput()
		if string(out) != want || err != nil {
			t.Errorf("%s, %v", out, err)
		}
	}
}
