package uplink

import (
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"gantry/bridge"
	"gantry/bridge/internal/broker"
	"gantry/wamp"
)

// Config is the table [uplink.NAME].
type Config struct {
	// Kind is what is at the other end: wamp, mqtt, http, nats. Default wamp.
	Kind string `toml:"kind"`
	// URL is the far router: ws://, wss://, lp:// or lps:// with the path, rs:// or
	// rss:// with the port, or one of ws+unix, rs+unix, lp+unix with the socket's
	// path. Or the broker, as of [broker.NAME]. Or where batches are posted to. Or NATS
	// servers, nats:// or tls://, several with commas between. Required.
	URL string `toml:"url"`
	// Realm is the realm to join there. Default: the gateway's own.
	Realm string `toml:"realm"`
	// User is who the gateway is there. "" = nobody: it joins as anonymous.
	User string `toml:"user"`
	// Password proves it, by scram or wampcra.
	Password bridge.Secret `toml:"password"`
	// Key is an Ed25519 private key in hex that proves it, by cryptosign; or for kind
	// nats the seed of an nkey or the text of a credentials file. The alternative to
	// Password.
	Key bridge.Secret `toml:"key"`
	// CA is a file with the certificates that the far router's must be signed by,
	// with wss and rss. "" = those of the system.
	CA string `toml:"ca"`
	// Serializer is cbor, msgpack or json. Default cbor.
	Serializer string `toml:"serializer"`
	// Forward lists the event classes that go up: point, batch, state, alarm, job.
	// Default point, state, alarm.
	Forward []string `toml:"forward"`
	// Serve lists the procedure classes that are registered at the far router: get,
	// set, do, sys, later. Default get, set, do. Whoever may call them there can
	// do what they do here.
	Serve []string `toml:"serve"`
	// Include lists patterns of the topics that go up, without "gantry.<gateway>.":
	// "point.meter.power", and "point.meter." or "point..power" where an empty part
	// stands for any one. None: all of the classes.
	Include []string `toml:"include"`
	// Exclude lists patterns of topics that do not.
	Exclude []string `toml:"exclude"`
	// Sample thins topics out. The first pattern that matches counts.
	Sample []Sample `toml:"sample"`
	// Rate bounds what is sent.
	Rate Rate `toml:"rate"`
	// NoLive: newest values do not go past the queue while that takes long.
	NoLive bool `toml:"no_live"`
	// Window is how many events may wait for their answer. Default 256.
	Window int `toml:"window"`
	// MQTT is for kind mqtt.
	MQTT MQTT `toml:"mqtt"`
	// NATS is for kind nats.
	NATS NATS `toml:"nats"`
	// Queue names the uplink whose queue this one sends from, too. "" = its own. There,
	// Forward, Include and Exclude choose among what the other one takes; without
	// Forward it is the other's. Sample and Buffer are those of the other.
	Queue string `toml:"queue"`
	// Buffer is the queue on disk.
	Buffer Buffer `toml:"buffer"`
}

// MQTT is the table [uplink.NAME.mqtt].
type MQTT struct {
	// Format is json or sparkplug. Default json.
	Format string `toml:"format"`
	// ClientID is the client identifier. Default gantry_<gateway>_<uplink>.
	ClientID string `toml:"client_id"`
	// Group and Node name the Sparkplug edge node. Default gantry and the gateway's
	// name.
	Group string `toml:"group"`
	Node  string `toml:"node"`
	// Cert and Key are files of the client's certificate and its key, in PEM form.
	Cert string `toml:"cert"`
	Key  string `toml:"key"`
}

// NATS is the table [uplink.NAME.nats].
type NATS struct {
	// Stream is the name of the JetStream stream that keeps the events. "" =
	// whichever keeps their subjects.
	Stream string `toml:"stream"`
	// Create makes the stream, where it does not exist, with the keys that follow.
	Create bool `toml:"create"`
	// Subjects are those of the new stream. Default: the chosen classes of all
	// gateways, such as "gantry.*.point.>".
	Subjects []string `toml:"subjects"`
	// MaxBytes and MaxAge bound the new stream; 0 = no limit.
	MaxBytes int64         `toml:"max_bytes"`
	MaxAge   time.Duration `toml:"max_age"`
	// OnFull says what the new stream does when it is full: drop-oldest or reject-new.
	// Default drop-oldest.
	OnFull string `toml:"on_full"`
	// Duplicates is for how long the new stream knows an event again. Default 2m.
	Duplicates time.Duration `toml:"duplicates"`
	// Replicas is how many servers of a cluster keep the new stream: 1 to 5. Default 1.
	Replicas int `toml:"replicas"`
	// Storage of the new stream is file or memory. Default file.
	Storage string `toml:"storage"`
	// Cert and Key are files of the client's certificate and its key, in PEM form.
	Cert string `toml:"cert"`
	Key  string `toml:"key"`
}

// Rate is the table [uplink.NAME.rate]. 0 = no limit.
type Rate struct {
	// Events in a second, and Bytes of stored events in a second.
	Events int `toml:"events"`
	Bytes  int `toml:"bytes"`
}

// Buffer is the table [uplink.NAME.buffer].
type Buffer struct {
	// MaxBytes bounds the queue on disk. Default 256 MiB.
	MaxBytes int64 `toml:"max_bytes"`
	// MaxAge drops what is older, by files. 0, the default, keeps it.
	MaxAge time.Duration `toml:"max_age"`
	// OnFull says what happens at MaxBytes: drop-oldest or reject-new. Default
	// drop-oldest.
	OnFull string `toml:"on_full"`
	// Commit says when an event goes to disk. "confirmed": within milliseconds.
	// "sampled": when the far router has not acknowledged it within a second; a
	// power cut loses at most that second. "class", the default, is confirmed for
	// everything but point and batch.
	Commit string `toml:"commit"`
	// WearSaver lets sampled events wait five seconds for their commit, which
	// spares the disk; a power cut loses at most those.
	WearSaver bool `toml:"wear_saver"`
	// Urgent lists the event classes that do not wait behind others: batch and point
	// cannot be there. Default alarm.
	Urgent []string `toml:"urgent"`
}

// The kinds of uplinks.
const (
	KindWAMP = "wamp"
	KindMQTT = "mqtt"
	KindHTTP = "http"
	KindNATS = "nats"
)

// The formats of kind mqtt.
const (
	FormatJSON      = "json"
	FormatSparkplug = "sparkplug"
)

// The choices of the configuration.
var (
	kinds          = []string{KindWAMP, KindMQTT, KindHTTP, KindNATS}
	mqttFormats    = []string{FormatJSON, FormatSparkplug}
	sparkplugGoes  = []string{"point", "state", "alarm"}
	forwardClasses = []string{"point", "batch", "state", "alarm", "job"}
	urgentClasses  = []string{"state", "alarm", "job"}
	serveClasses   = []string{"get", "set", "do", "sys", "later"}
	serializers    = []string{"cbor", "msgpack", "json"}
	schemes        = []string{"ws", "wss", "rs", "rss", "lp", "lps", "ws+unix", "rs+unix", "lp+unix"}
	onFull         = []string{"drop-oldest", "reject-new"}
	natsStorage    = []string{"file", "memory"}
	commits        = []string{"class", "confirmed", "sampled"}
)

// WithDefaults returns c with the defaults in place of zero values. An empty
// list that is not nil stays empty.
func (c Config) WithDefaults() Config {
	if c.Kind == "" {
		c.Kind = KindWAMP
	}
	if c.MQTT.Format == "" {
		c.MQTT.Format = FormatJSON
	}
	if c.MQTT.Group == "" {
		c.MQTT.Group = "gantry"
	}
	if c.Serializer == "" {
		c.Serializer = "cbor"
	}
	if c.Forward == nil {
		c.Forward = []string{"point", "state", "alarm"}
	}
	if c.Serve == nil && c.Kind != KindHTTP {
		c.Serve = []string{"get", "set", "do"}
	}
	c.NATS = c.NATS.withDefaults(c.Forward)
	if c.Window == 0 {
		c.Window = 256
	}
	if c.Queue != "" {
		return c // the buffer is another uplink's
	}
	if c.Buffer.MaxBytes == 0 {
		c.Buffer.MaxBytes = 256 << 20
	}
	if c.Buffer.OnFull == "" {
		c.Buffer.OnFull = onFull[0]
	}
	if c.Buffer.Commit == "" {
		c.Buffer.Commit = commits[0]
	}
	if c.Buffer.Urgent == nil {
		c.Buffer.Urgent = []string{"alarm"}
	}
	return c
}

// Validate checks c and returns everything that is wrong, joined, each as a
// *bridge.ConfigError.
func (c Config) Validate() error {
	c = c.WithDefaults()
	var errs []error
	check := func(ok bool, key, text, allowed string) {
		if !ok {
			errs = append(errs, &bridge.ConfigError{Key: key, Text: text, Allowed: allowed})
		}
	}
	oneOf := func(key, value string, choices []string) {
		check(slices.Contains(choices, value), key, fmt.Sprintf("is %.40q", value), strings.Join(choices, ", "))
	}
	oneOf("kind", c.Kind, kinds)
	switch c.Kind {
	case KindWAMP:
		checkURL(c.URL, check)
	case KindMQTT:
		security := broker.TLS{CA: c.CA, Cert: c.MQTT.Cert, Key: c.MQTT.Key}
		broker.CheckURL(c.URL, security != broker.TLS{}, check)
		errs = append(errs, security.Validate()...)
	case KindHTTP:
		u, err := url.Parse(c.URL)
		check(err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.User == nil, "url",
			fmt.Sprintf("%.80q is no address of a web server", c.URL), `such as "https://host/path", credentials are settings of their own`)
		check(len(c.Serve) == 0, "serve", "is there for kind http, which has no way down", "serve = []")
	case KindNATS:
		errs = append(errs, c.checkNATS(check)...)
	}
	if c.Kind != KindWAMP && c.Kind != KindNATS {
		check(c.Key == nil && c.Realm == "", "realm", "or key is there for kind "+c.Kind, "realm for kind wamp, key for kinds wamp and nats")
	}
	c.checkMQTT(check)
	check(c.Realm == "" || wamp.URI(c.Realm).Valid(false, wamp.MatchExact), "realm",
		fmt.Sprintf("%.80q is no URI", c.Realm), "parts without spaces or #, joined by dots")
	check(c.User == "" || c.Password != nil || c.Key != nil, "password", "is missing", "password or key, where there is a user")
	check(c.Password == nil || c.Key == nil, "key", "is there beside password", "one of them")
	check(c.Password == nil || c.User != "" || c.Kind == KindHTTP || c.Kind == KindNATS, "user", "is missing", "the user whose password it is")
	oneOf("serializer", c.Serializer, serializers)
	for i, class := range c.Forward {
		oneOf(fmt.Sprintf("forward[%d]", i), class, forwardClasses)
		check(!slices.Contains(c.Forward[:i], class), fmt.Sprintf("forward[%d]", i), "is there twice", "each class once")
	}
	for i, class := range c.Serve {
		oneOf(fmt.Sprintf("serve[%d]", i), class, serveClasses)
		check(!slices.Contains(c.Serve[:i], class), fmt.Sprintf("serve[%d]", i), "is there twice", "each class once")
	}
	errs = append(errs, c.checkFilter()...)
	check(c.Rate.Events >= 0 && c.Rate.Events <= maxRate, "rate.events", fmt.Sprintf("is %d", c.Rate.Events), "0 (no limit) to 1000000000")
	check(c.Rate.Bytes >= 0 && c.Rate.Bytes <= maxRate, "rate.bytes", fmt.Sprintf("is %d", c.Rate.Bytes), "0 (no limit) to 1000000000")
	check(c.Window >= 1 && c.Window <= 10_000, "window", fmt.Sprintf("is %d", c.Window), "1 to 10000")
	if c.Queue == "" {
		c.Buffer.check(check)
	} else {
		check(bridge.ValidName(c.Queue), "queue", fmt.Sprintf("%.80q is no uplink", c.Queue), "the name of another uplink")
		check(len(c.Sample) == 0 && reflect.DeepEqual(c.Buffer, Buffer{}), "queue", "is there beside sample or buffer", "these at the uplink that the queue is of")
	}
	return errors.Join(errs...)
}

// check checks the table buffer.
func (b *Buffer) check(check func(ok bool, key, text, allowed string)) {
	check(b.MaxBytes >= 1<<20 && b.MaxBytes <= 1<<40, "buffer.max_bytes",
		fmt.Sprintf("is %d", b.MaxBytes), "bytes, 1048576 (1 MiB) to 1099511627776 (1 TiB)")
	check(b.MaxAge >= 0, "buffer.max_age", "is negative", `0, or a duration such as "72h"`)
	for i, class := range b.Urgent {
		key := fmt.Sprintf("buffer.urgent[%d]", i)
		check(slices.Contains(urgentClasses, class), key, fmt.Sprintf("is %.40q", class), strings.Join(urgentClasses, ", "))
		check(!slices.Contains(b.Urgent[:i], class), key, "is there twice", "each class once")
	}
	check(slices.Contains(onFull, b.OnFull), "buffer.on_full", fmt.Sprintf("is %.40q", b.OnFull), strings.Join(onFull, ", "))
	check(slices.Contains(commits, b.Commit), "buffer.commit", fmt.Sprintf("is %.40q", b.Commit), strings.Join(commits, ", "))
}

// checkMQTT checks the table mqtt. Addresses and files are checked by those who use
// them.
func (c *Config) checkMQTT(check func(ok bool, key, text, allowed string)) {
	m := c.MQTT
	check(slices.Contains(mqttFormats, m.Format), "mqtt.format", fmt.Sprintf("is %.40q", m.Format), strings.Join(mqttFormats, ", "))
	for _, id := range []struct{ key, text string }{{"client_id", m.ClientID}, {"group", m.Group}, {"node", m.Node}} {
		bad := id.text != "" && (bridge.CheckTopic(id.text) != nil || strings.Contains(id.text, "/") || len(id.text) > 256)
		check(!bad, "mqtt."+id.key, fmt.Sprintf("%.80q is no identifier", id.text), "up to 256 bytes of text without / + and #")
	}
	if c.Kind == KindMQTT && m.Format == FormatSparkplug {
		for i, class := range c.Forward {
			check(slices.Contains(sparkplugGoes, class), fmt.Sprintf("forward[%d]", i), fmt.Sprintf("is %q, which Sparkplug has no metrics for", class), strings.Join(sparkplugGoes, ", "))
		}
	}
}

const (
	maxRate     = 1_000_000_000
	maxPatterns = 256
)

// checkFilter checks Include, Exclude and Sample.
func (c *Config) checkFilter() (errs []error) {
	bad := func(key, text, allowed string) {
		errs = append(errs, &bridge.ConfigError{Key: key, Text: text, Allowed: allowed})
	}
	pattern := func(key, p string) {
		if p == "" || strings.HasPrefix(p, "gantry.") || !wamp.URI("gantry.gw."+p).Valid(false, wamp.MatchWildcard) {
			bad(key, fmt.Sprintf("%.80q is no pattern", p), `a topic behind "gantry.<gateway>.", such as "point.meter." or "point..power"`)
		}
	}
	for i, p := range c.Include {
		pattern(fmt.Sprintf("include[%d]", i), p)
	}
	for i, p := range c.Exclude {
		pattern(fmt.Sprintf("exclude[%d]", i), p)
	}
	for i, s := range c.Sample {
		pattern(fmt.Sprintf("sample[%d].topic", i), s.Topic)
		if s.Every < time.Millisecond || s.Every > 24*time.Hour {
			bad(fmt.Sprintf("sample[%d].every", i), "is "+s.Every.String(), "1ms to 24h")
		}
	}
	if n := len(c.Include) + len(c.Exclude) + len(c.Sample); n > maxPatterns {
		bad("include", fmt.Sprintf("makes %d patterns with exclude and sample", n), fmt.Sprintf("%d at most", maxPatterns))
	}
	return errs
}

func checkURL(s string, check func(ok bool, key, text, allowed string)) {
	const allowed = `such as "wss://host/ws", "rs://host:port" or "rs+unix:///path"`
	if s == "" {
		check(false, "url", "is missing", allowed)
		return
	}
	u, err := url.Parse(s)
	if err != nil || !slices.Contains(schemes, u.Scheme) {
		check(false, "url", fmt.Sprintf("%.80q is no address of a router", s), allowed)
		return
	}
	if strings.HasSuffix(u.Scheme, "+unix") {
		check(u.Path != "", "url", fmt.Sprintf("%.80q has no path", s), allowed)
		return
	}
	check(u.Hostname() != "", "url", fmt.Sprintf("%.80q has no host", s), allowed)
	check(u.User == nil, "url", "has a user name in it", "credentials are settings of their own")
}

// confirmed reports whether events of a class are committed at once.
func (b Buffer) confirmed(class string) bool {
	switch b.Commit {
	case "confirmed":
		return true
	case "sampled":
		return false
	}
	return class != "point" && class != "batch"
}

// urgent reports whether events of a class overtake others.
func (b Buffer) urgent(class string) bool { return slices.Contains(b.Urgent, class) }

// retained reports whether the last event of each topic of a class is kept by
// routers (docs/topics.md). An event does not tell its subscribers whether it
// was published to be kept.
func retained(class string) bool { return class == "point" || class == "state" }
