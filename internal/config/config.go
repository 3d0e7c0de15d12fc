package config

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"gantry/bridge"
	"gantry/bridge/later"
	"gantry/bridge/mqtt"
	"gantry/bridge/mqttd"
	"gantry/bridge/uplink"
	"gantry/drivers"
	"gantry/drivers/hub"
	"gantry/wamp"
	"gantry/wamp/router"
)

// Schema is the version of the configuration's form that this program reads.
const Schema = 1

// The names inside a configuration directory.
const (
	MainFile    = "gantry.toml"
	DeviceDir   = "devices.d"
	IgnoredFile = "ignored.toml" // devices that have appeared and are not wanted
)

// Config is the whole configuration.
type Config struct {
	File    string // the main file, as it was opened
	Gateway Gateway
	Listen  Listen
	MQTT    MQTT
	Brokers map[string]mqtt.Config   // by name
	Uplinks map[string]uplink.Config // by name
	// Roles say what sessions may do, by name. None: everybody who may join may do
	// everything.
	Roles   map[string]router.RoleConfig
	Users   map[string]User // by authid
	Login   Login
	Realm   Realm
	History []History
	Later   later.Config
	Limits  Limits
	Log     Log
	Devices []Device // in the order of their names
	Sources []Source // in the order of their kinds
	// Ignored are the keys of the candidates that are ignored.
	Ignored []string

	positions *document
	dir       string // the directory that was loaded; "" = a single file
}

// Gateway is the table [gateway].
type Gateway struct {
	// Name is the gateway's part of every URI. Default "gw".
	Name string `toml:"name"`
	// Realm is the realm that everything joins. Default "gantry".
	Realm string `toml:"realm"`
	// Hub keeps a view of the gateways whose uplinks lead here.
	Hub bool `toml:"hub"`
}

// Listen is the table [listen].
type Listen struct {
	// HTTP is the one TCP address: WebSocket on /ws, RawSocket by first byte,
	// /healthz, /readyz, /metrics. "" = off. Default 127.0.0.1:8080.
	HTTP string `toml:"http"`
	// Unix is the RawSocket on a Unix socket, relative to the state directory.
	// "" = off. Default gantry.sock.
	Unix string `toml:"unix"`
	// Anonymous says from where clients without credentials are admitted.
	Anonymous Anonymous `toml:"anonymous"`
	// AnonymousRole is the role that they get. Default anonymous.
	AnonymousRole string `toml:"anonymous_role"`
	// Origins are the web pages that may connect besides those of the gateway
	// itself: "https://panel.example", "*" for all.
	Origins []string `toml:"origins"`
	// Hosts are the names by which the gateway may be asked over HTTP, besides
	// localhost and addresses; others are refused, for they may be a web page's that
	// points to this machine.
	Hosts []string `toml:"hosts"`
	// PingInterval is the silence after which a client is pinged. 0 = 5 s.
	PingInterval time.Duration `toml:"ping_interval"`
	// PingTimeout is how much longer it may then stay silent. 0 = 8 s.
	PingTimeout time.Duration `toml:"ping_timeout"`
	// HandshakeTimeout bounds all before the first message, HelloTimeout the wait for
	// HELLO, WriteTimeout how long a client may take nothing. 0 = 5 s, 5 s and 10 s.
	HandshakeTimeout time.Duration `toml:"handshake_timeout"`
	HelloTimeout     time.Duration `toml:"hello_timeout"`
	WriteTimeout     time.Duration `toml:"write_timeout"`
	// ChallengeTimeout is how long a challenge may be answered, MessageTimeout how
	// long a message of more than 16 KiB may take to arrive, and a second more for each
	// 16 KiB, HTTPTimeout how long a plain HTTP request may take. 0 = 10 s, 30 s and
	// 30 s.
	ChallengeTimeout time.Duration `toml:"challenge_timeout"`
	MessageTimeout   time.Duration `toml:"message_timeout"`
	HTTPTimeout      time.Duration `toml:"http_timeout"`
	// QuietRawSocket sends no pings on RawSocket: Autobahn|Python cannot answer them.
	QuietRawSocket bool `toml:"quiet_rawsocket"`
	// Batched speaks the WebSocket subprotocols with several messages in a frame, to
	// clients that ask for one. Default true.
	Batched bool `toml:"batched"`
	// Deflate compresses WebSocket messages for clients that ask for it.
	Deflate bool `toml:"deflate"`
	// DeflateFrom is the size of the smallest message that is compressed. 0 = 1 KiB.
	DeflateFrom int `toml:"deflate_from"`
	// TLS encrypts HTTP, and with it everything on its port.
	TLS TLS `toml:"tls"`
	// Cookie is how browsers are recognized.
	Cookie Cookie `toml:"cookie"`
	// LongPoll is WAMP in plain HTTP requests.
	LongPoll LongPoll `toml:"long_poll"`
}

// LongPoll is the table [listen.long_poll].
type LongPoll struct {
	// Off switches it off.
	Off bool `toml:"off"`
	// Path is where it is spoken. "" = /lp.
	Path string `toml:"path"`
	// Sessions bounds those at a time. 0 = 128.
	Sessions int `toml:"sessions"`
	// Wait is how long a receive request without messages is kept, Idle how long a
	// session lasts without requests. 0 = 10 s and 30 s.
	Wait time.Duration `toml:"wait"`
	Idle time.Duration `toml:"idle"`
}

// The defaults of Wait and Idle, of which the former must be less.
const (
	longPollWait = 10 * time.Second
	longPollIdle = 30 * time.Second
)

// Cookie is the table [listen.cookie].
type Cookie struct {
	// Name of the cookie that browsers are given. "" = none.
	Name string `toml:"name"`
	// MaxAge is how long a login lasts, for the authentication method "cookie".
	// 0 = 7 days.
	MaxAge time.Duration `toml:"max_age"`
}

// TLS is the table [listen.tls]. The files are PEM; a changed file is used from
// the next connection on.
type TLS struct {
	// Cert holds the certificate and its chain, Key the private key. "" = no TLS.
	Cert string `toml:"cert"`
	Key  string `toml:"key"`
}

// Anonymous says from where clients are admitted that do not say who they are.
type Anonymous string

// The choices.
const (
	AnonymousLoopback Anonymous = "loopback" // from this machine; default
	AnonymousAny      Anonymous = "any"      // from anywhere: whoever reaches the port controls every device
	AnonymousNone     Anonymous = "none"     // from nowhere: everybody has to log in
)

// UnmarshalText takes one of the choices.
func (a *Anonymous) UnmarshalText(text []byte) error {
	switch v := Anonymous(text); v {
	case AnonymousLoopback, AnonymousAny, AnonymousNone:
		*a = v
		return nil
	}
	return &KeyError{Text: fmt.Sprintf("is %.32q", text), Allowed: `"loopback", "any", "none"`}
}

// MQTT is the table [mqtt].
type MQTT struct {
	// Listen is the address of the gateway's own MQTT listener. "" = off. Default
	// 127.0.0.1:1883.
	Listen string `toml:"listen"`
	// ListenTLS is the address of the same listener with TLS, by the certificate of
	// listen.tls. "" = off, the default.
	ListenTLS string `toml:"listen_tls"`
	// WebSocket is the path on the port of [listen] where MQTT is spoken in WebSocket
	// messages. "" = off. Default "/mqtt".
	WebSocket string `toml:"websocket"`
	// Config is how the listener treats its clients.
	mqttd.Config
	// RulesConfig holds the rules for what the listener's clients publish and for
	// the calls that reach them.
	bridge.RulesConfig
	// ShapesConfig says which devices among the listener's clients appear by themselves.
	bridge.ShapesConfig
	// HomeAssistant says which devices of the gateway it is shown.
	HomeAssistant bridge.HomeAssistantConfig `toml:"homeassistant"`
}

// Limits is the table [limits]: what one client may use. 0 is the room's own
// default.
type Limits struct {
	MessageBytes      int `toml:"message_bytes"`       // largest message after inflating
	Depth             int `toml:"depth"`               // lists and dictionaries in each other
	Elements          int `toml:"elements"`            // of a message
	MessageRate       int `toml:"message_rate"`        // messages of one session in a second
	QueueBytes        int `toml:"queue_bytes"`         // waiting for a slow client
	BacklogBytes      int `toml:"backlog_bytes"`       // events waiting for one slow subscriber besides
	BacklogTotalBytes int `toml:"backlog_total_bytes"` // the same, of all sessions
	Subscriptions     int `toml:"subscriptions"`       // of one session
	Registrations     int `toml:"registrations"`       // of one session
	Calls             int `toml:"calls"`               // in progress, of one session
	Testaments        int `toml:"testaments"`          // of one session
	TableBytes        int `toml:"table_bytes"`         // subscriptions of all sessions; registrations the same
	CallBytes         int `toml:"call_bytes"`          // calls in progress, of all sessions
	TestamentBytes    int `toml:"testament_bytes"`     // testaments of all sessions
	DescriptionBytes  int `toml:"description_bytes"`   // descriptions of all sessions
	SessionBytes      int `toml:"session_bytes"`       // of each of these four, for one session when all is taken
	Streams           int `toml:"streams"`             // of publications that are sent once
	Retained          int `toml:"retained"`            // last values kept, of the realm
	RetainedBytes     int `toml:"retained_bytes"`      // bytes of the last values kept
	Connections       int `toml:"connections"`         // open at a time
	HalfOpen          int `toml:"half_open"`           // of those, not logged in
	HelloBytes        int `toml:"hello_bytes"`         // largest message before the login
	MemoryBytes       int `toml:"memory_bytes"`        // messages on their way, of all clients
}

// Log is the table [log].
type Log struct {
	// Level is the least level that is written. Default info.
	Level Level `toml:"level"`
}

// Level is one of debug, info, warn, error.
type Level string

// UnmarshalText takes one of the levels.
func (l *Level) UnmarshalText(text []byte) error {
	if levels := []string{"debug", "info", "warn", "error"}; !slices.Contains(levels, string(text)) {
		return &KeyError{Text: fmt.Sprintf("is %.32q", text), Allowed: `"debug", "info", "warn", "error"`}
	}
	*l = Level(text)
	return nil
}

// Device is one table [device.NAME] that is in order.
type Device struct {
	Name string
	Kind drivers.Kind
	Hub  hub.DeviceConfig // what every device has
	// Driver is the kind's own configuration, for Kind.New.
	Driver any
	File   string // where it is from
	Line   int
}

// mainFile is the form of gantry.toml.
type mainFile struct {
	Schema  int64                        `toml:"schema"`
	Gateway Gateway                      `toml:"gateway"`
	Listen  Listen                       `toml:"listen"`
	MQTT    MQTT                         `toml:"mqtt"`
	Broker  map[string]mqtt.Config       `toml:"broker"`
	Uplink  map[string]uplink.Config     `toml:"uplink"`
	Role    map[string]router.RoleConfig `toml:"role"`
	User    map[string]User              `toml:"user"`
	Login   Login                        `toml:"login"`
	Realm   Realm                        `toml:"realm"`
	History []History                    `toml:"history"`
	Later   later.Config                 `toml:"later"`
	Limits  Limits                       `toml:"limits"`
	Log     Log                          `toml:"log"`
	Device  map[string]map[string]any    `toml:"device"`
	// Discovery holds the tables [discovery.KIND].
	Discovery map[string]map[string]any `toml:"discovery"`
}

// Load reads path, a main file or a directory with gantry.toml and devices.d in
// it, and everything that is wrong with it. The devices that are in order are
// in Config even when others are not; Config is nil when the main file cannot be
// used, which is so when any error is not about one device (see [Errors.Fatal]).
func Load(path string, kinds []drivers.Kind) (*Config, Errors) {
	l := loader{kinds: map[string]drivers.Kind{}, seen: map[string]place{}, docs: map[string]*document{}, points: map[string][]string{}}
	for _, k := range kinds {
		l.kinds[k.Name] = k
	}
	file, dir, err := find(path)
	if err != nil {
		return nil, Errors{err}
	}
	cfg := l.main(file)
	var ignored []string
	if dir != "" {
		l.deviceFiles(filepath.Join(dir, DeviceDir))
		ignored = l.ignored(filepath.Join(dir, IgnoredFile))
	}
	l.agree()
	l.interlocks()
	l.errs.sort()
	if cfg == nil || len(l.errs.Fatal()) > 0 {
		return nil, l.errs
	}
	cfg.Devices, cfg.Sources, cfg.Ignored, cfg.dir = l.devices(), l.sources, ignored, dir
	return cfg, l.errs
}

// find returns the main file and the directory that it is in, "" for a single file.
func find(path string) (file, dir string, e *Error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", "", fileError(path, err)
	}
	if !info.IsDir() {
		return path, "", nil
	}
	return filepath.Join(path, MainFile), path, nil
}

// loader gathers devices and errors over all files.
type loader struct {
	kinds   map[string]drivers.Kind
	seen    map[string]place // every device table met, good or bad
	good    []Device
	sources []Source
	docs    map[string]*document // of the devices in good, by name
	errs    Errors

	points map[string][]string // of the devices that could be built, by name
}

type place struct {
	file string
	line int
}

func (p place) String() string { return fmt.Sprintf("%s:%d", p.file, p.line) }

// main reads the main file; nil when it cannot be read at all.
func (l *loader) main(file string) *Config {
	doc, err := read(file)
	if err != nil {
		l.errs = append(l.errs, err)
		return nil
	}
	m := mainFile{
		Gateway: Gateway{Name: "gw", Realm: "gantry"},
		Listen:  Listen{HTTP: "127.0.0.1:8080", Unix: "gantry.sock", Anonymous: AnonymousLoopback, AnonymousRole: "anonymous", Batched: true},
		MQTT:    MQTT{Listen: "127.0.0.1:1883", WebSocket: "/mqtt"},
		Log:     Log{Level: "info"},
	}
	d := decoder{doc: doc}
	d.table(nil, doc.root, &m)
	if _, given := doc.root["schema"]; !given {
		d.fail([]string{"schema"}, "is missing", fmt.Sprint(Schema))
	} else if m.Schema != Schema {
		d.fail([]string{"schema"}, fmt.Sprintf("is %d", m.Schema), fmt.Sprint(Schema))
	}
	for _, err := range m.validate() {
		d.fail(unshow(err.Key), err.Text, err.Allowed)
	}
	if err := errors.Join(m.MQTT.Config.Validate(), m.MQTT.RulesConfig.Validate(), m.MQTT.ShapesConfig.Validate(), m.MQTT.HomeAssistant.Validate()); err != nil {
		d.complain([]string{"mqtt"}, err)
	}
	if err := m.Later.Validate(); err != nil {
		d.complain([]string{"later"}, err)
	}
	links(&d, "broker", m.Broker)
	d.sameClient(m.Broker)
	links(&d, "uplink", m.Uplink)
	d.sharedQueues(m.Uplink)
	d.roles(&m)
	d.users(&m)
	d.realms(&m)
	if realm := wamp.URI(m.Gateway.Realm); m.MQTT.Realm == "" {
		m.MQTT.Realm = realm
	} else if m.MQTT.Realm != realm {
		d.fail([]string{"mqtt", "realm"}, fmt.Sprintf("%.80q is no realm of this gateway", m.MQTT.Realm), fmt.Sprintf("%q", realm))
	}
	l.discovery(&d, m.Discovery)
	l.errs = append(l.errs, d.errs...)
	l.tables(doc, m.Device)
	return &Config{
		File: file, Gateway: m.Gateway, Listen: m.Listen, MQTT: m.MQTT, Brokers: m.Broker, Uplinks: m.Uplink, Roles: m.Role,
		Users: m.User, Login: m.Login, Realm: m.Realm, History: m.History,
		Later: m.Later, Limits: m.Limits, Log: m.Log, positions: doc,
	}
}

// links checks the tables [kind.NAME] of connections to somewhere else.
func links[C interface{ Validate() error }](d *decoder, kind string, tables map[string]C) {
	for _, name := range sortedKeys(tables) {
		path := []string{kind, name}
		if !hub.ValidName(name) {
			d.fail(path, fmt.Sprintf("%.80q is no name", name), "1 to 64 of a-z 0-9 _")
		}
		if err := tables[name].Validate(); err != nil {
			d.complain(path, err)
		}
	}
}

// sharedQueues gives the uplinks that send from another one's queue what that one
// forwards, where they do not choose among it, and refuses what is not there.
func (d *decoder) sharedQueues(uplinks map[string]uplink.Config) {
	for _, name := range sortedKeys(uplinks) {
		c := uplinks[name]
		source, there := uplinks[c.Queue]
		if c.Queue == "" {
			continue
		}
		if !there || source.Queue != "" {
			d.fail([]string{"uplink", name, "queue"}, fmt.Sprintf("%.80q is no uplink with a queue of its own", c.Queue), "the name of one")
			continue
		}
		classes := source.WithDefaults().Forward
		for i, class := range c.Forward {
			if !slices.Contains(classes, class) {
				d.complain([]string{"uplink", name}, &bridge.ConfigError{
					Key:  fmt.Sprintf("forward[%d]", i),
					Text: fmt.Sprintf("is %.40q, which uplink.%s does not forward", class, c.Queue), Allowed: strings.Join(classes, ", "),
				})
			}
		}
		if c.Forward == nil {
			c.Forward = classes
			if c.Validate() != nil && uplinks[name].Validate() == nil {
				d.fail([]string{"uplink", name, "queue"}, fmt.Sprintf("has the classes %s, not all of which go there", strings.Join(classes, ", ")), "with forward to choose among them")
			}
			uplinks[name] = c
		}
	}
}

// sameClient refuses two tables for one broker under one client identifier: the
// broker would end the connection of one whenever the other connects.
func (d *decoder) sameClient(brokers map[string]mqtt.Config) {
	seen := map[[2]string]string{}
	for _, name := range sortedKeys(brokers) {
		id := [2]string{brokers[name].URL, brokers[name].ClientID}
		if other, twice := seen[id]; twice && id[0] != "" {
			d.fail([]string{"broker", name, "client_id"}, "is that of broker."+other+", which is at the same broker", "a client_id of its own")
		}
		seen[id] = name
	}
}

func (m *mainFile) validate() (errs []*KeyError) {
	check := func(ok bool, key, text, allowed string) {
		if !ok {
			errs = append(errs, &KeyError{key, text, allowed})
		}
	}
	check(hub.ValidName(m.Gateway.Name), "gateway.name", fmt.Sprintf("%.80q is no name", m.Gateway.Name), "1 to 64 of a-z 0-9 _")
	check(wamp.URI(m.Gateway.Realm).Valid(false, wamp.MatchExact), "gateway.realm", fmt.Sprintf("%.80q is no URI", m.Gateway.Realm), "parts without spaces or #, joined by dots")
	if err := CheckListen(m.Listen.HTTP, m.Listen.Anonymous, len(m.User)); err != nil {
		errs = append(errs, &KeyError{"listen.http", err.Text, err.Allowed})
	}
	// What passwords pass in clear stays on this machine.
	if err := CheckListen(m.MQTT.Listen, m.Listen.Anonymous, NoLogin); err != nil {
		errs = append(errs, &KeyError{"mqtt.listen", err.Text, err.Allowed})
	}
	if err := CheckListen(m.MQTT.ListenTLS, m.Listen.Anonymous, len(m.User)); err != nil {
		errs = append(errs, &KeyError{"mqtt.listen_tls", err.Text, err.Allowed})
	}
	check(m.MQTT.ListenTLS == "" || m.Listen.TLS.Cert != "", "mqtt.listen_tls", "there is no certificate", "an address, with cert and key in [listen.tls]")
	check(m.MQTT.WebSocket == "" || len(m.MQTT.WebSocket) > 1 && m.MQTT.WebSocket == path.Clean(m.MQTT.WebSocket) && m.MQTT.WebSocket[0] == '/' &&
		!slices.Contains([]string{"/ws", "/metrics", "/healthz", "/readyz"}, m.MQTT.WebSocket),
		"mqtt.websocket", fmt.Sprintf("%.80q is no path of its own", m.MQTT.WebSocket), `"" (off), or such as "/mqtt"`)
	check(filepath.IsLocal(m.Listen.Unix) || filepath.IsAbs(m.Listen.Unix) || m.Listen.Unix == "",
		"listen.unix", fmt.Sprintf("%.80q leaves the state directory", m.Listen.Unix), "a name in the state directory, or an absolute path")
	l := m.Limits
	for _, n := range []struct {
		key   string
		value int
	}{
		{"limits.message_bytes", l.MessageBytes}, {"limits.depth", l.Depth}, {"limits.elements", l.Elements}, {"limits.message_rate", l.MessageRate},
		{"limits.queue_bytes", l.QueueBytes}, {"limits.backlog_bytes", l.BacklogBytes}, {"limits.backlog_total_bytes", l.BacklogTotalBytes},
		{"limits.subscriptions", l.Subscriptions}, {"limits.registrations", l.Registrations}, {"limits.calls", l.Calls}, {"limits.testaments", l.Testaments},
		{"limits.table_bytes", l.TableBytes}, {"limits.call_bytes", l.CallBytes}, {"limits.testament_bytes", l.TestamentBytes},
		{"limits.description_bytes", l.DescriptionBytes}, {"limits.session_bytes", l.SessionBytes}, {"limits.streams", l.Streams},
		{"limits.retained", l.Retained}, {"limits.retained_bytes", l.RetainedBytes}, {"limits.connections", l.Connections}, {"limits.half_open", l.HalfOpen},
		{"limits.hello_bytes", l.HelloBytes}, {"limits.memory_bytes", l.MemoryBytes},
		{"listen.deflate_from", m.Listen.DeflateFrom}, {"listen.long_poll.sessions", m.Listen.LongPoll.Sessions},
	} {
		check(n.value >= 0, n.key, fmt.Sprintf("is %d", n.value), "0 (the default) or more")
	}
	check(m.Limits.MessageBytes == 0 || m.Limits.MessageBytes >= 512 && m.Limits.MessageBytes <= 1<<24,
		"limits.message_bytes", fmt.Sprintf("is %d", m.Limits.MessageBytes), "0 (the default), or 512 to 16777216")
	lp := m.Listen.LongPoll
	for _, n := range []struct {
		key   string
		value time.Duration
	}{
		{"listen.ping_interval", m.Listen.PingInterval}, {"listen.ping_timeout", m.Listen.PingTimeout},
		{"listen.handshake_timeout", m.Listen.HandshakeTimeout}, {"listen.hello_timeout", m.Listen.HelloTimeout},
		{"listen.challenge_timeout", m.Listen.ChallengeTimeout}, {"listen.write_timeout", m.Listen.WriteTimeout},
		{"listen.message_timeout", m.Listen.MessageTimeout}, {"listen.http_timeout", m.Listen.HTTPTimeout},
		{"listen.long_poll.wait", lp.Wait}, {"listen.long_poll.idle", lp.Idle}, {"listen.cookie.max_age", m.Listen.Cookie.MaxAge},
		{"login.find_timeout", m.Login.FindTimeout}, {"login.penalty", m.Login.Penalty}, {"login.penalty_max", m.Login.PenaltyMax},
	} {
		check(n.value >= 0, n.key, "is negative", `0 (the default), or a duration such as "10s"`)
	}
	idle := cmp.Or(lp.Idle, longPollIdle)
	check(cmp.Or(lp.Wait, longPollWait) < idle, "listen.long_poll.wait", fmt.Sprintf("is %v", cmp.Or(lp.Wait, longPollWait)), fmt.Sprintf("less than listen.long_poll.idle, %v", idle))
	check(lp.Path == "" || len(lp.Path) > 1 && lp.Path == path.Clean(lp.Path) && lp.Path[0] == '/' && lp.Path != "/ws",
		"listen.long_poll.path", fmt.Sprintf("%.80q is no path of its own", lp.Path), `"" (the default), or such as "/lp"`)
	check(m.Listen.Cookie.Name == "" || (&http.Cookie{Name: m.Listen.Cookie.Name}).Valid() == nil,
		"listen.cookie.name", fmt.Sprintf("%.80q is no name of a cookie", m.Listen.Cookie.Name), "letters, digits, - and _")
	check((m.Listen.TLS.Cert == "") == (m.Listen.TLS.Key == ""), "listen.tls.key", "only one of cert and key is there", "both, or neither")
	for i, name := range m.Listen.Hosts {
		check(name != "" && !strings.ContainsAny(name, "/: "), fmt.Sprintf("listen.hosts[%d]", i), fmt.Sprintf("%.80q is no host", name), "a name without port")
	}
	return errs
}

// NoLogin tells CheckListen of a listener whose clients cannot log in safely.
const NoLogin = -1

// CheckListen checks a TCP address to listen on, "" being none. An address that
// other machines reach is refused unless anonymous clients are expressly
// admitted from anywhere, or there are users and those who come from there have to
// log in; NoLogin says that nobody can log in there.
func CheckListen(addr string, anonymous Anonymous, users int) *KeyError {
	if addr == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return &KeyError{Text: fmt.Sprintf("%.80q is no address", addr), Allowed: `"host:port", such as "127.0.0.1:8080"; port 0 takes a free one`}
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return &KeyError{Text: fmt.Sprintf("%.80q has no port number", addr), Allowed: "a port from 0 to 65535"}
	}
	ip, err := netip.ParseAddr(host)
	if local := host == "localhost" || err == nil && ip.IsLoopback(); local || anonymous == AnonymousAny || users > 0 {
		return nil
	}
	allowed := "127.0.0.1, [::1] or localhost; or"
	if users != NoLogin {
		allowed += " users who log in, [user.NAME]; or"
	}
	return &KeyError{
		Text:    fmt.Sprintf("%s is reachable from other machines, and whoever reaches it controls every device", addr),
		Allowed: allowed + `, where everybody on the network is trusted, anonymous = "any" in [listen]`,
	}
}

// Locate turns a room's complaint about the table at key, such as "uplink.hq",
// into errors with file and line.
func (c *Config) Locate(key string, err error) Errors {
	d := decoder{doc: c.positions}
	d.complain(unshow(key), err)
	return d.errs
}

// complain adds a room's errors about the table at path.
func (d *decoder) complain(path []string, err error) {
	for _, err := range splitJoined(err) {
		key := asKeyError(err)
		d.fail(append(slices.Clone(path), unshow(key.Key)...), key.Text, key.Allowed)
	}
}

// deviceFiles reads every *.toml in dir. No such folder is no error.
func (l *loader) deviceFiles(dir string) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	if err != nil {
		l.errs = append(l.errs, fileError(dir, err))
		return
	}
	for _, e := range entries {
		if e.IsDir() || !strings.HasSuffix(e.Name(), ".toml") || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		l.deviceFile(filepath.Join(dir, e.Name()))
	}
}

// deviceFile reads one file of device tables. What is wrong with it as a whole
// stops its devices only.
func (l *loader) deviceFile(file string) {
	about := strings.TrimSuffix(filepath.Base(file), ".toml")
	doc, err := read(file)
	if err != nil {
		err.Device = about
		l.errs = append(l.errs, err)
		return
	}
	var f struct {
		Device map[string]map[string]any `toml:"device"`
	}
	d := decoder{doc: doc, device: about}
	d.table(nil, doc.root, &f)
	l.errs = append(l.errs, d.errs...)
	l.tables(doc, f.Device)
}
