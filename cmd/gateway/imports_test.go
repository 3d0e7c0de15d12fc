package main

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// arrow says what a room of the house may import besides the standard library
// and itself. A room ending in /* stands for those below it that have no row of
// their own. docs/ARCHITECTURE.md holds the same table.
type arrow struct {
	room string
	may  []string
	why  string
}

var arrows = []arrow{
	{"wamp", nil, "the vocabulary: everybody speaks it, so it depends on nobody"},
	{"wamp/websocket", nil, "plain WebSocket, usable without WAMP"},
	{"wamp/serialize", []string{"wamp"}, "bytes in, messages out; no I/O"},
	{"wamp/auth", []string{"wamp"}, "pure maths of both sides"},
	{"wamp/transport", []string{"wamp", "wamp/serialize", "wamp/websocket"}, "framing and handshakes; does not know who talks"},
	{"wamp/router", []string{"wamp", "wamp/serialize", "wamp/auth"}, "peers are handed to it; it knows no transport and no client"},
	{"wamp/client", []string{"wamp", "wamp/serialize", "wamp/auth", "wamp/transport"}, "components run inside the router or far away, so it knows no router"},
	{"drivers", nil, "the contract between drivers and hub"},
	{"drivers/serialport", []string{"drivers"}, "the one owner of serial ports"},
	{"drivers/internal/*", []string{"drivers", "drivers/internal/*"}, "what drivers have in common: bytes in, values out"},
	{"drivers/*", []string{"drivers", "drivers/serialport", "drivers/internal/*"}, "a driver knows its device: no WAMP, no store, no configuration files, no other driver"},
	{"drivers/wsdev", []string{"drivers", "drivers/internal/*", "wamp/websocket"}, "its devices speak plain WebSocket, and that library knows no WAMP"},
	{"drivers/hub", []string{"drivers", "drivers/hub/internal/*", "wamp", "wamp/client"}, "the only place where devices and WAMP meet"},
	{"drivers/hub/internal/*", []string{"drivers", "drivers/hub/internal/*"}, "pure: values and times in, values and decisions out"},
	{"bridge", []string{"wamp", "wamp/serialize", "wamp/client"}, "rules between worlds; components like any other"},
	{"bridge/internal/*", []string{"bridge", "bridge/internal/*"}, "shared by the bridges"},
	{"bridge/*", []string{"bridge", "bridge/internal/*", "wamp", "wamp/serialize", "wamp/client"}, "one world each; they know each other through rules only"},
	{"bridge/uplink/*", []string{"bridge", "bridge/internal/*", "bridge/uplink", "bridge/uplink/sparkplug", "wamp", "wamp/serialize", "wamp/client"}, "one far world each, for the one uplink that drives them all"},
	{"bridge/shapes", []string{"bridge", "bridge/shapes/internal/*", "drivers"}, "what announces itself over MQTT becomes a device of the hub: the contract of drivers, but no driver"},
	{"bridge/shapes/internal/*", []string{"bridge", "bridge/shapes/internal/*", "drivers"}, "pure: messages in, devices and readings out"},
	{"store", nil, "keeps bytes and does not know what they mean"},
	{"store/crashtest", []string{"store"}, "uses a store as a gateway does, and cuts its power"},
	{"systemd", nil, "talks to the service manager"},
	{"internal/anteroom", nil, "a leaf that anybody may use"},
	{"internal/backoff", nil, "a leaf that anybody may use"},
	{"internal/budget", nil, "a leaf that anybody may use"},
	{"internal/clocksync", nil, "a leaf that anybody may use"},
	{"internal/ioctl", nil, "a leaf that anybody may use"},
	{"internal/lane", nil, "a leaf that anybody may use"},
	{"internal/keypair", nil, "a leaf that anybody may use"},
	{"internal/launch", nil, "a leaf that anybody may use"},
	{"internal/ratelog", nil, "a leaf that anybody may use"},
	{"internal/receipts", nil, "a leaf that anybody may use"},
	{"internal/wallclock", nil, "a leaf that anybody may use"},
	{"internal/config", []string{"wamp", "wamp/auth", "wamp/router", "drivers", "drivers/hub", "bridge", "bridge/*", "store"}, "assembles the rooms' own configurations and starts nothing"},
	{"cmd/gateway", []string{"*"}, "the composition root, the only place that knows everyone"},
	{"cmd/gateway/internal/forward", []string{"drivers/serialport", "wamp/websocket"}, "carries bytes between ends; knows nothing of the gateway"},
	{"examples/*", []string{"examples/*", "wamp", "wamp/*"}, "programs that use the libraries as anybody would"},
}

// leaves may be imported by anybody.
var leaves = []string{"internal/anteroom", "internal/backoff", "internal/budget", "internal/clocksync", "internal/ioctl", "internal/keypair", "internal/lane", "internal/launch", "internal/ratelog", "internal/receipts", "internal/wallclock"}

// testOnly are the rooms that no product code imports.
var testOnly = []string{"wamp/wamptest", "wamp/websocket/conformance", "wamp/interop", "wamp/interop/*", "internal/daemon", "internal/mosquitto", "internal/natsd", "internal/mqttjs", "internal/mochi", "internal/mochi/*", "internal/gopeer", "internal/badline", "internal/lyingfs", "drivers/drivertest", "store/crashtest", "internal/avrhil", "internal/guest", "internal/ioctl/ioctltest", "internal/chromium"}

// libraries names the rooms that may use each module.
var libraries = map[string]struct {
	rooms []string
	why   string
}{
	"github.com/eclipse/paho.mqtt.golang": {[]string{"bridge/*", "bridge/internal/*", "cmd/gateway"}, "MQTT is the bridges' business, and that of the command that tries them"},
	"github.com/fxamacker/cbor/v2":        {[]string{"wamp/serialize", "bridge", "bridge/*", "store"}, "values and records in binary"},
	"github.com/gorilla/websocket":        {[]string{"wamp/websocket"}, "frames, masks and the upgrade"},
	"github.com/nats-io/nats.go":          {[]string{"bridge/uplink/natslink"}, "NATS is one uplink's business"},
	"github.com/nats-io/nkeys":            {[]string{"bridge/uplink/natslink"}, "the keys that NATS logs in with"},
	"github.com/pelletier/go-toml/v2":     {[]string{"internal/config"}, "no other room knows what configuration files look like"},
	"github.com/spf13/cobra":              {[]string{"cmd/gateway"}, "the command line"},
	"github.com/tidwall/gjson":            {[]string{"bridge", "bridge/*", "drivers/*"}, "picks fields from validated JSON"},
	"go.bug.st/serial":                    {[]string{"drivers/serialport"}, "only this room opens serial ports"},
	"go.etcd.io/bbolt":                    {[]string{"store"}, "the only room that knows the store's files"},
	"golang.org/x/crypto":                 {[]string{"wamp/auth"}, "Argon2 for SCRAM; all else is in the standard library"},
	"golang.org/x/sync":                   {[]string{"*"}, "the Go project's own"},
	"golang.org/x/sys":                    {[]string{"*"}, "the Go project's own"},
}

func TestImportsFollowTheTable(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	files := 0
	err := filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if e.IsDir() {
			if rel != "." && (strings.HasPrefix(e.Name(), ".") || e.Name() == "testdata" || e.Name() == "node_modules" || rel == "bench" || rel == "dist" || rel == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") || strings.HasSuffix(rel, "_test.go") {
			return nil
		}
		files++
		for _, problem := range checkImports(t, name, path.Dir(rel)) {
			t.Errorf("%s: %s", rel, problem)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 20 {
		t.Errorf("only %d files found", files)
	}
}

// checkImports returns what one file of a room imports against the rules.
func checkImports(t *testing.T, file, room string) (problems []string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range f.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		if problem := checkImport(room, imported); problem != "" {
			problems = append(problems, problem)
		}
	}
	return problems
}

func checkImport(room, imported string) string {
	to, own := strings.CutPrefix(imported, "gantry/")
	switch {
	case own:
		return checkArrow(room, to)
	case !strings.Contains(strings.Split(imported, "/")[0], "."):
		return "" // standard library
	case covers(testOnly, room):
		return ""
	}
	for module, rule := range libraries {
		if imported != module && !strings.HasPrefix(imported, module+"/") {
			continue
		}
		if covers(rule.rooms, room) {
			return ""
		}
		return fmt.Sprintf("imports %s, which belongs to %s: %s", imported, strings.Join(rule.rooms, ", "), rule.why)
	}
	return fmt.Sprintf("imports %s, which has no row in the table of libraries", imported)
}

func checkArrow(room, to string) string {
	switch {
	case to == room || covers(leaves, to) || covers(testOnly, room):
		return ""
	case covers(testOnly, to):
		return "imports " + to + ", which is for tests only"
	case to == "cmd/gateway":
		return "imports the composition root, which nobody may"
	case covers([]string{"examples/*"}, to) && !covers([]string{"examples/*"}, room):
		return "imports an example"
	}
	rule, ok := ruleOf(room)
	if !ok {
		return "the room " + room + " has no row in the table of arrows"
	}
	if covers(rule.may, to) {
		return ""
	}
	may := "nothing of the house"
	if len(rule.may) > 0 {
		may = strings.Join(rule.may, ", ")
	}
	return fmt.Sprintf("imports %s; %s may import %s: %s", to, rule.room, may, rule.why)
}

// ruleOf returns the row of a room, or the longest pattern that covers it.
func ruleOf(room string) (best arrow, ok bool) {
	for _, a := range arrows {
		if a.room == room {
			return a, true
		}
		if covers([]string{a.room}, room) && len(a.room) > len(best.room) {
			best, ok = a, true
		}
	}
	return best, ok
}

// covers reports whether one of the patterns names a room.
func covers(patterns []string, room string) bool {
	for _, p := range patterns {
		if p == room || p == "*" {
			return true
		}
		if prefix, ok := strings.CutSuffix(p, "*"); ok && strings.HasPrefix(room, prefix) {
			return true
		}
	}
	return false
}

func TestImportRulesBite(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		room, imported string
		allowed        bool
	}{
		{"wamp", "strings", true},
		{"wamp", "gantry/store", false},
		{"wamp/router", "gantry/wamp/transport", false},
		{"wamp/router", "gantry/wamp/client", false},
		{"wamp/client", "gantry/internal/backoff", true},
		{"drivers/line", "gantry/drivers/serialport", true},
		{"drivers/line", "gantry/drivers/sim", false},
		{"drivers/line", "gantry/wamp", false},
		{"drivers/line", "gantry/store", false},
		{"drivers/line", "gantry/wamp/websocket", false},
		{"drivers/wsdev", "gantry/wamp/websocket", true},
		{"drivers/wsdev", "gantry/wamp/client", false},
		{"drivers/wsdev", "gantry/wamp", false},
		{"drivers/hub", "gantry/wamp/client", true},
		{"drivers/hub", "gantry/drivers/sim", false},
		{"bridge/mqttd", "gantry/bridge/internal/packet", true},
		{"bridge/mqtt", "gantry/bridge/mqttd", false},
		{"bridge/mqtt", "gantry/store", false},
		{"bridge/shapes", "gantry/drivers", true},
		{"bridge/shapes", "gantry/drivers/hub", false},
		{"bridge/shapes/internal/shelly", "gantry/wamp", false},
		{"bridge/mqtt", "gantry/bridge/shapes", false},
		{"bridge/mqtt", "gantry/drivers", false},
		{"store", "go.etcd.io/bbolt", true},
		{"drivers/hub", "go.etcd.io/bbolt", false},
		{"store", "github.com/vmihailenco/msgpack/v5", false},
		{"cmd/gateway", "gantry/drivers/sim", true},
		{"cmd/gateway", "gantry/wamp/wamptest", false},
		{"store", "gantry/cmd/gateway", false},
		{"examples/wamp", "gantry/wamp/client", true},
		{"examples/wamp", "gantry/examples/wamp/rpc", true},
		{"examples/wamp", "gantry/wamp/interop", false},
		{"examples/wamp", "gantry/internal/config", false},
		{"cmd/gateway", "gantry/examples/wamp/rpc", false},
		{"unknown", "gantry/wamp", false},
	} {
		if problem := checkImport(c.room, c.imported); (problem == "") != c.allowed {
			t.Errorf("%s -> %s: %q", c.room, c.imported, problem)
		}
	}
}

func TestArchitectureStatesTheTable(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	doc := string(b)
	for _, a := range arrows {
		if row := a.row(); !strings.Contains(doc, row+"\n") {
			t.Errorf("docs/ARCHITECTURE.md lacks this row:\n%s", row)
		}
	}
	for module := range libraries {
		if !strings.Contains(doc, "`"+module+"`") {
			t.Errorf("docs/ARCHITECTURE.md does not say why %s is used", module)
		}
	}
}

// row returns the arrow as a row of the table in docs/ARCHITECTURE.md.
func (a arrow) row() string {
	may := "-"
	if len(a.may) > 0 {
		may = "`" + strings.Join(a.may, "`, `") + "`"
	}
	return fmt.Sprintf("| `%s` | %s | %s |", a.room, may, a.why)
}
