package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"gantry/bridge/files"
	"gantry/drivers/hub"
	"gantry/internal/config"
	"gantry/wamp"
	"gantry/wamp/auth"
	"gantry/wamp/client"
)

// planted marks every secret of the configuration below.
const planted = "hUsH"

// secretive returns a configuration with a secret in every key that takes one, and in
// those that could hold one, and the environment that it refers to.
func secretive(t *testing.T) (dir string, env []string) {
	t.Helper()
	stored, err := storedForms(auth.NewSecret(planted + "-stored"))
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	for name, text := range map[string]string{
		"stored": strings.Join(stored, "\n"), "pass": planted + "-file\n",
		"key": strings.Repeat("9d61b19deffd5a60", 4),
		"gantry.toml": `schema = 1
gateway.name = "hq"
mqtt.listen = ""
# password = "hUsH-comment"
[user.ann]
role = "anonymous"
password = "env:HUSH_PASSWORD"
[user.bob]
role = "anonymous"
stored = "file:DIR/stored"
[broker.far]
url = "tcp://127.0.0.1:1"
user = "hUsH-user"
password = "file:DIR/pass"
[[broker.far.command]]
procedure = "do.lamp.blink"
topic = "lamp"
payload = "hUsH-payload"
[uplink.up]
url = "ws://127.0.0.1:1/ws"
user = "hUsH-uplink-user"
password = "env:HUSH_UPLINK"
[uplink.keyed]
url = "ws://127.0.0.1:1/ws"
user = "gw"
key = "file:DIR/key"
`,
		"devices.d/web.toml": `[device.plug]
driver = "http"
url = "http://127.0.0.1:1/base/hUsH-in-url"
user = "hUsH-plug-user"
password = "env:HUSH_PLUG"
header = { X-Api = "hUsH-header" }
[device.plug.request.status]
path = "/status?password=hUsH-query"
body = "hUsH-body"
method = "POST"
[device.plug.point.power]
[device.signed]
driver = "http"
url = "http://127.0.0.1:1"
token = "env:HUSH_TOKEN"
[device.signed.hook]
secret = "env:HUSH_HOOK"
[device.signed.point.value]
[device.button]
driver = "wsdev"
token = "env:HUSH_BUTTON"
hello = ['{"login":"hUsH-hello"}']
parse = { json = true }
[device.button.point.battery]
from = "volts"
[device.prog]
driver = "exec"
command = ["/bin/echo", "hUsH-argument"]
env = { API = "hUsH-env" }
[device.prog.point.value]
`,
		"devices.d/bad.toml":    "[device.bad]\ndriver = \"wsdev\"\ntoken = \"hUsH-plain\"\n[device.bad.point.x]\n",
		"devices.d/worse.toml":  "[device.worse]\ndriver = \"wsdev\"\ntokne = \"hUsH-misspelt\"\n",
		"devices.d/broken.toml": "[device.broken]\npassword = hUsH-unquoted\n",
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, "DIR", dir)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"PASSWORD", "UPLINK", "PLUG", "TOKEN", "HOOK", "BUTTON"} {
		env = append(env, "HUSH_"+name+"="+planted+"-"+name)
	}
	return dir, env
}

// TestEveryKeyForASecretIsKnown finds the keys that take a secret, which the test of
// bundles has to have.
func TestEveryKeyForASecretIsKnown(t *testing.T) {
	t.Parallel()
	roots := []any{config.Config{}, config.User{}, hub.DeviceConfig{}}
	for _, k := range kinds() {
		roots = append(roots, k.Config())
	}
	keys := map[string]bool{}
	for _, root := range roots {
		secretKeys(reflect.TypeOf(root), keys)
	}
	var found []string
	for k := range keys {
		found = append(found, k)
	}
	slices.Sort(found)
	if want := []string{"key", "password", "secret", "stored", "token"}; !slices.Equal(found, want) {
		t.Errorf("keys that take a secret: %v, the test of bundles knows %v", found, want)
	}
}

func secretKeys(typ reflect.Type, keys map[string]bool) {
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map {
		typ = typ.Elem()
	}
	if typ.Kind() != reflect.Struct || reflect.PointerTo(typ).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return
	}
	secret := reflect.TypeFor[config.Secret]()
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("toml"), ",")
		switch {
		case !f.IsExported() || name == "-" || strings.HasPrefix(f.Type.String(), "drivers.Kind"):
		case f.Type == secret || f.Type.Kind() == reflect.Interface && f.Type.NumMethod() > 0 && secret.Implements(f.Type):
			keys[name] = true
		default:
			secretKeys(f.Type, keys)
		}
	}
}

// readBundle returns the files of a bundle.
func readBundle(t *testing.T, file string) map[string]string {
	t.Helper()
	packed, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	parts := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return parts
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		parts[h.Name] = string(content)
	}
}

// TestNoSecretIsInABundle fetches the bundle of a gateway that has secrets wherever
// there may be some.
func TestNoSecretIsInABundle(t *testing.T) {
	t.Parallel()
	dir, env := secretive(t)
	p := startProgram(t, dir, t.TempDir(), env...)
	file := filepath.Join(t.TempDir(), "b.tar.gz")
	if code, _, errs := p.commandAt(p.url, "support", "--gateway", "hq", "-o", file); code != exitOK {
		t.Fatal(errs)
	}
	parts := readBundle(t, file)
	stored, err := os.ReadFile(filepath.Join(dir, "stored"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range parts {
		if i := strings.Index(text, planted); i >= 0 {
			t.Errorf("%s: ...%s...", name, text[max(0, i-80):min(len(text), i+80)])
		}
		for _, secret := range append(strings.Split(string(stored), "\n"), strings.Repeat("9d61b19deffd5a60", 4)) {
			if strings.Contains(text, secret) {
				t.Errorf("%s has %.30s", name, secret)
			}
		}
	}
	for name, wants := range map[string][]string{
		"about.json":     {`"gateway":"hq"`, `"version":`, `"clock_set":`},
		"config.json":    {`"env:HUSH_PASSWORD"`, `"driver":"wsdev"`, `"header":{"X-Api":"***"}`, `"web.toml"`, `"command":["/bin/echo","***"]`, `"url":"tcp://127.0.0.1:1"`, `"broken.toml:`},
		"state.json":     {"sys.device.list", "sys.queue.status", "button"},
		"store.json":     {`"appended"`, "/store/"},
		"metrics.txt":    {"gantry_build_info"},
		"goroutines.txt": {"goroutine ", "bundle"},
		"system.txt":     {"MemTotal", "VmRSS"},
		"log.txt":        {"level=INFO", "msg=ready", "time="},
	} {
		for _, want := range wants {
			if !strings.Contains(parts[name], want) {
				t.Errorf("%s lacks %s:\n%.3000s", name, want, parts[name])
			}
		}
		if strings.HasSuffix(name, ".json") && !json.Valid([]byte(parts[name])) {
			t.Errorf("%s is no JSON", name)
		}
	}
	if out := p.command("file", "list", "--gateway", "hq"); strings.Contains(out, bundleMark) {
		t.Errorf("left on the gateway:\n%s", out)
	}
	p.stop()
}

// TestABundleGoesOnWhereItWas has a part of one bundle fetched while there is another.
func TestABundleGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	p := startProgram(t, writeFiles(t, map[string]string{"gantry.toml": laterConfig}), t.TempDir())
	s := p.join()
	var names []string
	for range 3 {
		made, err := client.Call[wamp.Dict](t.Context(), s, supportProcedure("hq"))
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, made["name"].(string))
		pause(t, 2*time.Millisecond) // names are by the millisecond
	}
	whole, err := client.Call[[]byte](t.Context(), s, files.Procedure("hq", "read"), names[1], int64(0), int64(files.MaxChunk))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "b.tar.gz")
	if err := os.WriteFile(file+partSuffix, whole[:len(whole)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	p.command("support", "--gateway", "hq", "-o", file)
	if got, err := os.ReadFile(file); !bytes.Equal(got, whole) || err != nil {
		t.Errorf("%d bytes of %d, %v", len(got), len(whole), err)
	}
	out := p.command("file", "list", "--gateway", "hq")
	if strings.Contains(out, names[0]) || strings.Contains(out, names[1]) || !strings.Contains(out, names[2]) {
		t.Errorf("%v were made, the second fetched; left:\n%s", names, out)
	}
	p.stop()
}

// TestABundleIsBounded packs parts that are too large, and a log with a secret.
func TestABundleIsBounded(t *testing.T) {
	t.Parallel()
	secret := "pass\"word\n"
	log := strings.Repeat("line\n", maxPart) + `error="login pass\"word refused"` + "\n"
	packed, err := pack([]bundlePart{{"log.txt", []byte(log)}, {"empty", nil}}, time.Unix(1e9, 0), scrubber([]string{strings.TrimSpace(secret)}))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "b.tar.gz")
	if err := os.WriteFile(file, packed, 0o600); err != nil {
		t.Fatal(err)
	}
	parts := readBundle(t, file)
	text, empty := parts["log.txt"], parts["empty"]
	if len(parts) != 2 || empty != "" || len(text) > maxPart || !strings.HasPrefix(text, "... the beginning") || !strings.HasSuffix(text, `error="login *** refused"`+"\n") {
		t.Errorf("%d parts, a log of %d bytes that ends in %q", len(parts), len(text), text[max(0, len(text)-60):])
	}
}

// TestNothingIsLeftOfASecret has secrets that begin as others do, in either order.
func TestNothingIsLeftOfASecret(t *testing.T) {
	t.Parallel()
	for _, secrets := range [][]string{{"hush", "hush-long", "hush-l\nhush-lines"}, {"hush-l\nhush-lines", "hush-long", "hush"}} {
		if got := scrubber(secrets).Replace("hush, hush-long, hush-lines"); got != "***, ***, ***" {
			t.Errorf("%q: %s", secrets, got)
		}
	}
}

func TestTheTailOfALog(t *testing.T) {
	t.Parallel()
	tail := &logTail{}
	for range 10_000 {
		if n, err := tail.Write([]byte("a line of the log that is about fifty bytes long..\n")); n != 51 || err != nil {
			t.Fatal(n, err)
		}
	}
	_, _ = tail.Write([]byte("the last\n"))
	b := tail.Bytes()
	if len(b) > tailBytes || len(b) < tailBytes-100 || !bytes.HasPrefix(b, []byte("a line")) || !bytes.HasSuffix(b, []byte("..\nthe last\n")) {
		t.Errorf("%d bytes, from %.20q", len(b), b)
	}
	if _, _ = tail.Write(bytes.Repeat([]byte("x"), 3*tailBytes)); len(tail.Bytes()) > tailBytes || cap(tail.lines) > 4*tailBytes {
		t.Errorf("a long line takes %d", cap(tail.lines))
	}
}
