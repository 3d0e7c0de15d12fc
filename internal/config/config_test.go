package config_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"gantry/drivers"
	"gantry/internal/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type lampConfig struct {
	Port  struct{ Path string }            `toml:"port"`
	Watts int                              `toml:"watts"`
	Point map[string]struct{ From string } `toml:"point"`
}

// lamp is a kind of driver for these tests; drivers are in rooms of their own.
var lamp = drivers.Kind{
	Name:   "lamp",
	Config: func() any { return &lampConfig{Watts: 40} },
	New: func(cfg any, _ drivers.Env) (drivers.Driver, error) {
		c := cfg.(*lampConfig)
		if c.Port.Path == "" {
			return nil, &drivers.ConfigError{Key: "port.path", Text: "is missing", Allowed: "a path"}
		}
		if c.Watts > 100 {
			return nil, &drivers.ConfigError{Key: "watts", Text: "is too bright", Allowed: "0 to 100"}
		}
		return dimmer{}, nil
	},
}

type dimmer struct{}

func (dimmer) Describe() drivers.Description {
	return drivers.Description{Points: []drivers.Point{{ID: "dim", Readable: true, Writable: true}}}
}

func (dimmer) Run(ctx context.Context, _ drivers.Link) error {
	<-ctx.Done()
	return nil
}

// write lays out a configuration directory; the names are relative to it.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func loadDir(t *testing.T, files map[string]string) (*config.Config, []string) {
	t.Helper()
	dir := write(t, files)
	cfg, errs := config.Load(dir, []drivers.Kind{lamp})
	var lines []string
	for _, e := range errs {
		lines = append(lines, strings.ReplaceAll(e.Error(), dir+"/", ""))
	}
	return cfg, lines
}

func TestSmallestConfiguration(t *testing.T) {
	t.Parallel()
	cfg, errs := loadDir(t, map[string]string{
		"gantry.toml":           "schema = 1\n",
		"devices.d/hall.toml":   "[device.hall]\ndriver = \"lamp\"\nlabel = \"Hall\"\n[device.hall.port]\npath = \"/dev/x\"\n[device.hall.point.dim]\nfrom = \"d\"\nunit = \"%\"\n",
		"devices.d/.hall.toml~": "not toml",
		"devices.d/README":      "not toml",
	})
	if errs != nil {
		t.Fatal(errs)
	}
	if cfg.Gateway.Name != "gw" || cfg.Gateway.Realm != "gantry" || cfg.Listen.HTTP != "127.0.0.1:8080" || cfg.Listen.Unix != "gantry.sock" {
		t.Errorf("defaults: %+v %+v", cfg.Gateway, cfg.Listen)
	}
	if len(cfg.Devices) != 1 {
		t.Fatalf("%d devices", len(cfg.Devices))
	}
	d := cfg.Devices[0]
	own := d.Driver.(*lampConfig)
	if d.Name != "hall" || d.Line != 1 || d.Hub.Label != "Hall" || d.Hub.Point["dim"].Unit != "%" || own.Point["dim"].From != "d" || own.Watts != 40 {
		t.Errorf("device: %+v", d)
	}
}

func TestOneBadDeviceStopsThatDeviceOnly(t *testing.T) {
	t.Parallel()
	const good = "driver = \"lamp\"\nport = { path = \"x\" }\n"
	cfg, errs := loadDir(t, map[string]string{
		"gantry.toml":           "schema = 1\n[device.main]\n" + good,
		"devices.d/a.toml":      "[device.a]\n" + good + "wats = 3\n",
		"devices.d/b.toml":      "[device.b]\ndriver = \"lamp\"\n\nwatts = 300\nport = { path = \"x\" }\n",
		"devices.d/c.toml":      "[device.c]\ndriver = \"lamb\"\n",
		"devices.d/d.toml":      "[device.d\n",
		"devices.d/e.toml":      "[device.e]\n" + good + "\n[device.twice]\n" + good,
		"devices.d/f.toml":      "[device.f]\n" + good + "\n[device.twice]\n" + good,
		"devices.d/g.toml":      "[device.g]\ndriver = \"lamp\"\n[device.\"G G\"]\n" + good,
		"devices.d/h.toml":      "[devise.h]\n" + good,
		"devices.d/i.toml":      "[device.i]\ndriver = 5\n[device.j]\n",
		"devices.d/k.toml":      "[device.k]\n" + good + "[device.k.point.dim]\nmin = 2\nscale = 0.0\n[device.k.point.dum]\n",
		"devices.d/l.toml":      "[device.l]\n" + good + "[device.l.point.dim]\nunit = \"%\"\n[device.l.point.dum]\nunit = \"%\"\n",
		"devices.d/m.toml":      "[device.m]\n" + good + "[device.m.point.dim]\nsafe = { value = \"off\" }\n",
		"devices.d/n.toml":      "[device.n]\n" + good + "[device.n.point.dim.limit]\nnot_with = [\"mains.dim\"]\n",
		"devices.d/o.toml":      "[device.o]\n" + good + "[device.o.point.dim]\nlimit = { max_on = \"1m\", not_with = [\"e.dum\", \"a.x\"] }\n",
		"devices.d/p.toml":      "[device.p]\n" + good + "[device.p.point.dim]\ncalibrate = [[0, 0], [10]]\n",
		"devices.d/sub/no.toml": "not toml",
	})
	want := []string{
		`devices.d/a.toml:4: device.a.wats: unknown key, did you mean watts?; allowed: action_timeout, demand, disabled, driver, every, label, max_silence, point, port, retry, stale_after, timeout, watts`,
		`devices.d/b.toml:4: device.b.watts: is too bright; allowed: 0 to 100`,
		`devices.d/c.toml:2: device.c.driver: "lamb" is no driver, did you mean lamp?; allowed: "lamp"`,
		`devices.d/d.toml:1: expected ']' to close table name`,
		`devices.d/f.toml:5: device.twice: device is defined twice, here and at devices.d/e.toml:5; neither runs; allowed: one definition`,
		`devices.d/g.toml:1: device.g.port.path: is missing; allowed: a path`,
		`devices.d/g.toml:3: device."G G": "G G" is no name; allowed: 1 to 64 of a-z 0-9 _`,
		`devices.d/h.toml:1: devise: unknown key, did you mean device?; allowed: device`,
		`devices.d/i.toml:2: device.i.driver: is an integer; allowed: "lamp"`,
		`devices.d/i.toml:3: device.j.driver: is missing; allowed: "lamp"`,
		`devices.d/k.toml:6: device.k.point.dim.scale: is 0; allowed: any number but 0`,
		`devices.d/l.toml:6: device.l.point.dum: the driver has no such point; allowed: dim`,
		`devices.d/m.toml:5: device.m.point.dim.safe.value: dim takes a value of type float; allowed: float`,
		`devices.d/n.toml:5: device.n.point.dim.limit.not_with: there is no device "mains", did you mean main?; allowed: "point" or "device.point" of the configuration`,
		`devices.d/o.toml:5: device.o.point.dim.limit.not_with: device e has no point "dum", did you mean dim?; allowed: dim`,
		`devices.d/p.toml:5: device.p.point.dim.calibrate: entry 2 is [10]; allowed: pairs [measured, true] of finite numbers, the measured ones growing`,
	}
	if diff := cmp.Diff(want, errs); diff != "" {
		t.Error(diff)
	}
	if cfg == nil {
		t.Fatal("the gateway does not start")
	}
	var names []string
	for _, d := range cfg.Devices {
		names = append(names, d.Name)
	}
	if diff := cmp.Diff([]string{"e", "f", "main"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestBadMainFileIsReportedWhole(t *testing.T) {
	t.Parallel()
	cfg, errs := loadDir(t, map[string]string{
		"gantry.toml": `schema = 2
[gateway]
name = "My Gateway"
realm = "a b"
[listen]
http = ":8080"
unix = "../x"
anonymous = "all"
[limits]
calls = -1
[log]
level = "loud"
[other]
`,
		"devices.d/x.toml": "[device.x]\ndriver = \"lamp\"\n",
	})
	want := []string{
		`devices.d/x.toml:1: device.x.port.path: is missing; allowed: a path`,
		`gantry.toml:1: schema: is 2; allowed: 1`,
		`gantry.toml:3: gateway.name: "My Gateway" is no name; allowed: 1 to 64 of a-z 0-9 _`,
		`gantry.toml:4: gateway.realm: "a b" is no URI; allowed: parts without spaces or #, joined by dots`,
		`gantry.toml:6: listen.http: :8080 is reachable from other machines, and whoever reaches it controls every device; allowed: 127.0.0.1, [::1] or localhost; or users who log in, [user.NAME]; or, where everybody on the network is trusted, anonymous = "any" in [listen]`,
		`gantry.toml:7: listen.unix: "../x" leaves the state directory; allowed: a name in the state directory, or an absolute path`,
		`gantry.toml:8: listen.anonymous: is "all"; allowed: "loopback", "any", "none"`,
		`gantry.toml:10: limits.calls: is -1; allowed: 0 (the default) or more`,
		`gantry.toml:12: log.level: is "loud"; allowed: "debug", "info", "warn", "error"`,
		`gantry.toml:13: other: unknown key; allowed: broker, device, discovery, gateway, history, later, limits, listen, log, login, mqtt, realm, role, schema, uplink, user`,
	}
	if diff := cmp.Diff(want, errs); diff != "" {
		t.Error(diff)
	}
	if cfg != nil {
		t.Error("the gateway would start")
	}
}

func TestBridgesAreChecked(t *testing.T) {
	t.Parallel()
	_, errs := loadDir(t, map[string]string{"gantry.toml": `schema = 1
[mqtt]
listen = "0.0.0.0:1883"
max_packet = 1
[[mqtt.map]]
topic = "a/{room}"
device = "x"
point = "t"
[[mqtt.map]]
topic = "a/{room}"
device = "{roam}"
point = "t"
[uplink.hq]
url = "http://x"
forward = ["point", "everything"]
[uplink.hq.buffer]
max_bytes = 5
[uplink."h q"]
url = "ws://x/ws"
`})
	want := []string{
		`gantry.toml:3: mqtt.listen: 0.0.0.0:1883 is reachable from other machines, and whoever reaches it controls every device; allowed: 127.0.0.1, [::1] or localhost; or, where everybody on the network is trusted, anonymous = "any" in [listen]`,
		`gantry.toml:4: mqtt.max_packet: is 1; allowed: 128 to 16777216`,
		`gantry.toml:11: mqtt.map[1].device: there is no {roam}; allowed: the names of levels of the topic, groups of regex, fields, and key with each`,
		`gantry.toml:14: uplink.hq.url: "http://x" is no address of a router; allowed: such as "wss://host/ws", "rs://host:port" or "rs+unix:///path"`,
		`gantry.toml:15: uplink.hq.forward[1]: is "everything"; allowed: point, batch, state, alarm, job`,
		`gantry.toml:17: uplink.hq.buffer.max_bytes: is 5; allowed: bytes, 1048576 (1 MiB) to 1099511627776 (1 TiB)`,
		`gantry.toml:18: uplink."h q": "h q" is no name; allowed: 1 to 64 of a-z 0-9 _`,
	}
	if diff := cmp.Diff(want, errs); diff != "" {
		t.Error(diff)
	}
}

func TestSharedQueuesAreChecked(t *testing.T) {
	t.Parallel()
	cfg, errs := loadDir(t, map[string]string{"gantry.toml": `schema = 1
[uplink.hq]
url = "ws://x/ws"
forward = ["point", "alarm"]
[uplink.mirror]
kind = "http"
url = "http://x/in"
queue = "hq"
`})
	if cfg == nil || len(errs) > 0 {
		t.Fatal(errs)
	}
	if diff := cmp.Diff(cfg.Uplinks["hq"].Forward, cfg.Uplinks["mirror"].Forward); diff != "" {
		t.Error(diff)
	}
	_, errs = loadDir(t, map[string]string{"gantry.toml": `schema = 1
[uplink.hq]
url = "ws://x/ws"
forward = ["point", "batch"]
[uplink.a]
url = "ws://x/ws"
queue = "nobody"
[uplink.b]
url = "ws://x/ws"
queue = "a"
[uplink.c]
url = "ws://x/ws"
queue = "hq"
forward = ["point", "alarm"]
[uplink.d]
url = "ws://x/ws"
queue = "hq"
buffer = {max_bytes = 2_000_000}
[uplink.e]
kind = "mqtt"
url = "tcp://x"
queue = "hq"
mqtt = {format = "sparkplug"}
[uplink.f]
url = "ws://x/ws"
buffer = {urgent = ["alarm", "point"]}
`})
	want := []string{
		`gantry.toml:7: uplink.a.queue: "nobody" is no uplink with a queue of its own; allowed: the name of one`,
		`gantry.toml:10: uplink.b.queue: "a" is no uplink with a queue of its own; allowed: the name of one`,
		`gantry.toml:14: uplink.c.forward[1]: is "alarm", which uplink.hq does not forward; allowed: point, batch`,
		`gantry.toml:17: uplink.d.queue: is there beside sample or buffer; allowed: these at the uplink that the queue is of`,
		`gantry.toml:22: uplink.e.queue: has the classes point, batch, not all of which go there; allowed: with forward to choose among them`,
		`gantry.toml:26: uplink.f.buffer.urgent[1]: is "point"; allowed: state, alarm, job`,
	}
	if diff := cmp.Diff(want, errs); diff != "" {
		t.Error(diff)
	}
}

func TestListenersAreChecked(t *testing.T) {
	t.Parallel()
	_, errs := loadDir(t, map[string]string{"gantry.toml": `schema = 1
[listen]
hello_timeout = "-1s"
[listen.long_poll]
path = "lp/"
sessions = -1
[listen.cookie]
name = "a b"
max_age = "-1h"
[limits]
message_rate = -1
session_bytes = -2
testament_bytes = -3
[login]
find_timeout = "-1s"
penalty = "-1s"
`})
	want := []string{
		`gantry.toml:3: listen.hello_timeout: is negative; allowed: 0 (the default), or a duration such as "10s"`,
		`gantry.toml:5: listen.long_poll.path: "lp/" is no path of its own; allowed: "" (the default), or such as "/lp"`,
		`gantry.toml:6: listen.long_poll.sessions: is -1; allowed: 0 (the default) or more`,
		`gantry.toml:8: listen.cookie.name: "a b" is no name of a cookie; allowed: letters, digits, - and _`,
		`gantry.toml:9: listen.cookie.max_age: is negative; allowed: 0 (the default), or a duration such as "10s"`,
		`gantry.toml:11: limits.message_rate: is -1; allowed: 0 (the default) or more`,
		`gantry.toml:12: limits.session_bytes: is -2; allowed: 0 (the default) or more`,
		`gantry.toml:13: limits.testament_bytes: is -3; allowed: 0 (the default) or more`,
		`gantry.toml:15: login.find_timeout: is negative; allowed: 0 (the default), or a duration such as "10s"`,
		`gantry.toml:16: login.penalty: is negative; allowed: 0 (the default), or a duration such as "10s"`,
	}
	if diff := cmp.Diff(want, errs); diff != "" {
		t.Error(diff)
	}
}

func TestRulesOfOneRealmAreChecked(t *testing.T) {
	t.Parallel()
	cfg, errs := loadDir(t, map[string]string{"gantry.toml": `schema = 1
[realm]
strict_uris = true
also = ["more"]
overflow = "latest"
[realm.of."A-b"]
[realm.of."A-c"]
strict_uris = false
[realm.of.d]
overflow = "never"
retained_ttl = "-1s"
other = 1
`})
	want := []string{
		`gantry.toml:6: realm.of.A-b: "A-b" is no realm; allowed: parts without spaces or #, joined by dots`,
		`gantry.toml:10: realm.of.d.overflow: is "never"; allowed: drop_oldest, latest, drop_newest, disconnect`,
		`gantry.toml:11: realm.of.d.retained_ttl: is negative; allowed: 0, or a duration such as "24h"`,
		`gantry.toml:12: realm.of.d.other: unknown key; allowed: overflow, retained_ttl, strict_request_ids, strict_uris`,
	}
	if diff := cmp.Diff(want, errs); diff != "" || cfg != nil {
		t.Error(diff)
	}
	cfg, errs = loadDir(t, map[string]string{"gantry.toml": `schema = 1
[realm]
strict_uris = true
also = ["more"]
overflow = "latest"
retained_ttl = "1h"
[realm.of.gantry]
strict_request_ids = true
[realm.of.d]
strict_uris = false
retained_ttl = "0s"
`})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	for realm, want := range map[string]config.RealmRules{
		"more":   {StrictURIs: true, Overflow: "latest", RetainedTTL: time.Hour},
		"gantry": {StrictURIs: true, StrictRequestIDs: true, Overflow: "latest", RetainedTTL: time.Hour},
		"d":      {Overflow: "latest"},
	} {
		if got := cfg.Realm.For(realm); got != want {
			t.Errorf("%s: %+v, expected %+v", realm, got, want)
		}
	}
	if got := cfg.Realm.Names("gantry"); !slices.Equal(got, []string{"d", "more"}) {
		t.Errorf("realms %q", got)
	}
}

func TestTimesOfListenersAreChecked(t *testing.T) {
	t.Parallel()
	for toml, want := range map[string]string{
		"[listen.long_poll]\nwait = \"30s\"":    `gantry.toml:3: listen.long_poll.wait: is 30s; allowed: less than listen.long_poll.idle, 30s`,
		"[listen.long_poll]\nidle = \"5s\"":     `gantry.toml:2: listen.long_poll.wait: is 10s; allowed: less than listen.long_poll.idle, 5s`,
		"[listen]\nchallenge_timeout = \"-1s\"": `gantry.toml:3: listen.challenge_timeout: is negative; allowed: 0 (the default), or a duration such as "10s"`,
		"[listen]\ndeflate_from = -1":           `gantry.toml:3: listen.deflate_from: is -1; allowed: 0 (the default) or more`,
		"[listen.long_poll]\nwait = \"1m\"\nidle = \"2m\"\n[listen]\nmessage_timeout = \"1s\"\nhttp_timeout = \"1s\"\ndeflate_from = 1": "",
	} {
		_, errs := loadDir(t, map[string]string{"gantry.toml": "schema = 1\n" + toml + "\n"})
		if got := strings.Join(errs, "\n"); got != want {
			t.Errorf("%s\n%s\nexpected %s", toml, got, want)
		}
	}
}

func TestBrokersAreChecked(t *testing.T) {
	t.Parallel()
	_, errs := loadDir(t, map[string]string{"gantry.toml": `schema = 1
[broker.a]
url = "tcp://host"
[broker.b]
url = "tcp://host"
password = "hunter2"
keep_alive = "1500ms"
[broker.b.tls]
ca = "ca.pem"
[[broker.b.map]]
topic = "a/{room}"
device = "x"
point = "t"
qos = 3
[[broker.b.command]]
procedure = "set.lamp"
[broker."B 1"]
url = "mqtts://host"
[broker.c]
url = "tcp://other"
client_id = "c"
pasword = "env:X"
`})
	want := []string{
		`gantry.toml:4: broker.b.client_id: is that of broker.a, which is at the same broker; allowed: a client_id of its own`,
		`gantry.toml:6: broker.b.password: is no reference to a secret; allowed: "env:NAME" or "file:PATH"`,
		`gantry.toml:7: broker.b.keep_alive: is 1.5s; allowed: whole seconds from 1s to 1h`,
		`gantry.toml:8: broker.b.tls: is there for a connection without TLS; allowed: tls only with ssl, mqtts and wss`,
		`gantry.toml:9: broker.b.tls.ca: "ca.pem" is a relative path; allowed: an absolute path`,
		`gantry.toml:14: broker.b.map[0].qos: is 3; allowed: 0, 1 or 2`,
		`gantry.toml:17: broker."B 1": "B 1" is no name; allowed: 1 to 64 of a-z 0-9 _`,
		`gantry.toml:22: broker.c.pasword: unknown key, did you mean password?; allowed: accept, call, client_id, command, homeassistant, in_flight, keep_alive, map, max_packet, no_probe, pass, password, persistent, probe, probe_topic, publish, shapes, status, tls, url, user, zigbee2mqtt`,
	}
	if diff := cmp.Diff(want, errs); diff != "" {
		t.Error(diff)
	}
}

func TestBrokers(t *testing.T) {
	t.Setenv("GANTRY_TEST_BROKER", "hunter2")
	cfg, errs := loadDir(t, map[string]string{"gantry.toml": `schema = 1
[broker.house]
url = "ssl://host"
user = "gantry"
password = "env:GANTRY_TEST_BROKER"
keep_alive = "30s"
[[broker.house.map]]
topic = "a/{room}"
device = "{room}"
points = { t = "temp", rh = { path = "hum", unit = "%" } }
`})
	if errs != nil {
		t.Fatal(errs)
	}
	b := cfg.Brokers["house"]
	if b.URL != "ssl://host" || b.User != "gantry" || b.KeepAlive != 30*time.Second || len(b.Map) != 1 {
		t.Errorf("%+v", b)
	}
	if s, err := b.Password.Reveal(); s != "hunter2" || err != nil {
		t.Errorf("password %q, %v", s, err)
	}
	if s := fmt.Sprintf("%v %+v", b, b); strings.Contains(s, "hunter2") || strings.Contains(s, "GANTRY_TEST") {
		t.Errorf("the secret is printed: %s", s)
	}
}

func TestUsersAndRealmsAreChecked(t *testing.T) {
	t.Parallel()
	key := strings.Repeat("ab", 32)
	_, errs := loadDir(t, map[string]string{"gantry.toml": `schema = 1
[listen]
http = "0.0.0.0:8080"
hosts = ["a/b"]
[listen.tls]
cert = "/x"
[login]
find = "wamp.x"
[role.viewer]
rules = [{ uri = "a", allow = ["call"] }]
[user.ann]
role = "vewer"
keys = ["` + key + `", "zz"]
[user.bob]
role = "viewer"
password = "env:X"
stored = "env:Y"
keys = ["` + key + `"]
certificates = ["00"]
realms = ["a b"]
[user.cy]
[realm]
also = ["x", "x", "y z"]
on_demand = "a b"
overflow = "never"
retained_ttl = "-1s"
[[history]]
topic = "t"
max_bytes = 5
[[history]]
topic = "t"
[[history]]
topic = ""
match = "wild"
commit = "never"
`})
	want := []string{
		`gantry.toml:4: listen.hosts[0]: "a/b" is no host; allowed: a name without port`,
		`gantry.toml:5: listen.tls.key: only one of cert and key is there; allowed: both, or neither`,
		`gantry.toml:8: login.find: "wamp.x" is no procedure; allowed: a URI outside of wamp.`,
		`gantry.toml:12: user.ann.role: "vewer" is no role, did you mean viewer?; allowed: "viewer"`,
		`gantry.toml:13: user.ann.keys[1]: is no Ed25519 public key; allowed: 32 bytes in hex or base64`,
		`gantry.toml:17: user.bob.stored: is there beside password; allowed: one of them`,
		`gantry.toml:18: user.bob.keys[0]: is that of user ann; allowed: a key of its own`,
		`gantry.toml:19: user.bob.certificates[0]: is no fingerprint; allowed: the SHA-256 of the certificate, 64 hex digits`,
		`gantry.toml:20: user.bob.realms[0]: "a b" is no URI; allowed: parts without spaces or #, joined by dots`,
		`gantry.toml:21: user.cy.role: is missing; allowed: the name of a role`,
		`gantry.toml:21: user.cy.password: is missing; allowed: password, stored, keys or certificates`,
		`gantry.toml:23: realm.also[1]: "x" is there already; allowed: each realm once`,
		`gantry.toml:23: realm.also[2]: "y z" is no realm; allowed: parts without spaces or #, joined by dots`,
		`gantry.toml:24: realm.on_demand: "a b" begins no URI; allowed: parts without spaces or #, joined by dots`,
		`gantry.toml:25: realm.overflow: is "never"; allowed: drop_oldest, latest, drop_newest, disconnect`,
		`gantry.toml:26: realm.retained_ttl: is negative; allowed: 0, or a duration such as "24h"`,
		`gantry.toml:29: history[0].max_bytes: is 5; allowed: bytes, 1048576 (1 MiB) to 1099511627776 (1 TiB)`,
		`gantry.toml:31: history[1].topic: "t" is there already; allowed: each topic once`,
		`gantry.toml:34: history[2].match: is "wild"; allowed: exact, prefix, wildcard`,
		`gantry.toml:35: history[2].commit: is "never"; allowed: sampled, confirmed`,
	}
	if diff := cmp.Diff(want, errs); diff != "" {
		t.Error(diff)
	}
}

func TestMissingFiles(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"nowhere": "nowhere: no such file or directory",
		"":        "gantry.toml: no such file or directory",
	} {
		dir := t.TempDir()
		cfg, errs := config.Load(filepath.Join(dir, name), nil)
		if cfg != nil || len(errs) != 1 || strings.TrimPrefix(errs[0].Error(), dir+"/") != want {
			t.Errorf("got %v, %v, want %s", cfg, errs, want)
		}
	}
}

func TestListenAddresses(t *testing.T) {
	t.Parallel()
	for addr, ok := range map[string]bool{
		"": true, "127.0.0.1:0": true, "[::1]:8080": true, "localhost:8080": true, "127.7.7.7:1": true,
		":8080": false, "0.0.0.0:8080": false, "192.168.1.2:8080": false, "gateway.local:8080": false,
	} {
		if err := config.CheckListen(addr, config.AnonymousLoopback, config.NoLogin); (err == nil) != ok {
			t.Errorf("%q for this machine: %v", addr, err)
		}
		if err := config.CheckListen(addr, config.AnonymousAny, config.NoLogin); err != nil {
			t.Errorf("%q for any: %v", addr, err)
		}
	}
	for _, addr := range []string{"8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:65536", "::1:80:x"} {
		if config.CheckListen(addr, config.AnonymousAny, config.NoLogin) == nil {
			t.Errorf("%q accepted", addr)
		}
	}
}

func TestSecretsAreReadButNeverShown(t *testing.T) {
	t.Setenv("GANTRY_TEST_SECRET", "from env")
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("from file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]string{"env:GANTRY_TEST_SECRET": "from env", "file:" + file: "from file"} {
		var s config.Secret
		if err := s.UnmarshalText([]byte(ref)); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Reveal(); err != nil || got != want {
			t.Errorf("%s: %q, %v", ref, got, err)
		}
		if text := strings.Join([]string{s.String(), s.GoString(), s.LogValue().String()}, " "); text != "*** *** ***" {
			t.Errorf("shows %q", text)
		}
	}
	var s config.Secret
	for _, ref := range []string{"hunter2", "env:", "file:", "", "vault:x"} {
		if s.UnmarshalText([]byte(ref)) == nil {
			t.Errorf("%q accepted", ref)
		}
	}
	for _, ref := range []string{"env:GANTRY_TEST_NO_SUCH", "file:/nonexistent/x"} {
		if err := s.UnmarshalText([]byte(ref)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Reveal(); err == nil {
			t.Errorf("%q revealed", ref)
		}
	}
}
