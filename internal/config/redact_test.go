package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestWhatIsHidden reads the reference, with its devices as sound ones and as others.
func TestWhatIsHidden(t *testing.T) {
	t.Parallel()
	file := filepath.Join("..", "..", "docs", "reference.toml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	doc, e := parse(file, text)
	if e != nil {
		t.Fatal(e)
	}
	r := redactor{tables: map[string]any{}, sound: map[string]bool{"example_http": true, "example_exec": true, "example_external": true, "example_wsdev": true, "example_line": true, "example_hook": true}}
	r.file(file, true)
	shown := r.tables["reference.toml"].(map[string]any)
	at := func(path string) any {
		var v any = shown
		for part := range strings.SplitSeq(path, ".") {
			switch x := v.(type) {
			case map[string]any:
				v = x[part]
			case []any:
				v = x[part[0]-'0']
			}
		}
		return v
	}
	for path, want := range map[string]any{
		"gateway.name":                                 "gw",
		"listen.long_poll.sessions":                    int64(0),
		"user.example.role":                            "anonymous",
		"broker.example_house.password":                "env:GANTRY_MQTT",
		"broker.example_house.user":                    hidden,
		"mqtt.command.0.payload":                       hidden,
		"mqtt.command.0.topic":                         "cmnd/lamp/POWER",
		"mqtt.call.0.args.0":                           hidden,
		"device.example_http.url":                      "https://192.0.2.20",
		"device.example_http.password":                 "env:PLUG_PASSWORD",
		"device.example_http.header.X-Room":            hidden,
		"device.example_http.request.status.path":      hidden,
		"device.example_http.request.status.method":    "GET",
		"device.example_http.request.query.body":       hidden,
		"device.example_http.action.blink.path":        hidden,
		"device.example_http.point.level.write.path":   hidden,
		"device.example_http.point.power.from":         "meters.0.power",
		"device.example_http.action.blink.args.times":  map[string]any{"type": "int"},
		"device.example_hook.hook.secret":              "env:HOOK_SECRET",
		"device.example_exec.command":                  []any{"/usr/bin/sensors", hidden},
		"device.example_exec.env.LANG":                 hidden,
		"device.example_wsdev.hello.0":                 hidden,
		"device.example_line.port.serial":              "A50285BI",
		"device.example_line.point.led.write.template": hidden,
		"device.example_modbus.driver":                 hidden, // as it is not in order
		"device.example_modbus.unit_id":                int64(1),
	} {
		if diff := cmp.Diff(want, at(path)); diff != "" {
			t.Errorf("%s:\n%s", path, diff)
		}
	}
	if fmt.Sprint(doc.root["gateway"]) != fmt.Sprint(shown["gateway"]) {
		t.Errorf("%v", shown["gateway"])
	}
}

func TestURLsAndReferences(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "secret")
	if err := os.WriteFile(file, []byte("of the file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("REDACT_TEST", "of the environment")
	r := redactor{}
	for in, want := range map[string]string{
		"":                                "",
		"plain":                           "plain",
		"wss://hub.example/ws":            "wss://hub.example/ws",
		"https://host:8443/":              "https://host:8443/",
		"https://host/hook/abcdef":        "https://host/***",
		"https://ann:pw@host":             "https://host/***",
		"ws://host/ws?token=abcdef":       "ws://host/***",
		"HTTP://ann:upper@host":           "http://host/***",
		"rs+unix:///run/gantry.sock":      "rs+unix:///run/gantry.sock",
		"http://[bad":                     hidden,
		"env:REDACT_TEST":                 "env:REDACT_TEST",
		"file:" + file:                    "file:" + file,
		"file:" + dir:                     "file:" + dir,
		"env:REDACT_TEST_THAT_IS_NOT_SET": "env:REDACT_TEST_THAT_IS_NOT_SET",
	} {
		if got := r.text(in, false); got != want {
			t.Errorf("%s is shown as %s, want %s", in, got, want)
		}
	}
	if got := r.text("a longer text", true); got != hidden {
		t.Error(got)
	}
	broken := filepath.Join(dir, "broken.toml")
	t.Setenv("REDACT_TEST_BROKEN", "of a broken file")
	if err := os.WriteFile(broken, []byte("[uplink.up\npassword = \"env:REDACT_TEST_BROKEN\" # 'env:\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.file(broken, false)
	slices.Sort(r.secrets)
	want := []string{"HTTP://ann:upper@host", "a longer text", "http://[bad", "https://ann:pw@host", "https://host/hook/abcdef", "of a broken file", "of the environment", "of the file", "ws://host/ws?token=abcdef"}
	if diff := cmp.Diff(want, r.secrets); diff != "" {
		t.Error(diff)
	}
}
