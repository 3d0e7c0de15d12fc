// Package drivers is the contract between a device driver and the hub that
// supervises it: what a device is made of (points and actions), what it reports
// (readings), and what can be asked of it.
//
// A driver speaks one device's wire protocol, decodes and stamps. It never
// schedules, scales, retries for ever, buffers or knows WAMP: drivers/hub does
// that for all of them alike. The package imports the standard library only.
package drivers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"
)

// Value is one value of a point: nil (only with quality Bad or Stale), bool,
// int64, float64, string or []byte.
type Value any

// Quality says how far a reading can be trusted.
type Quality uint8

// The qualities, from best to worst. The zero value is Good.
const (
	Good      Quality = iota // as measured
	Uncertain                // measured, but the device itself doubts it
	Bad                      // not measured: the value is absent or meaningless
	Stale                    // the last good value, older than it should be
)

var qualityNames = [...]string{"good", "uncertain", "bad", "stale"}

// String returns the name on the wire: good, uncertain, bad, stale.
func (q Quality) String() string {
	if int(q) < len(qualityNames) {
		return qualityNames[q]
	}
	return "invalid"
}

// Reading is one value of one point as the driver decoded it, before scaling.
type Reading struct {
	Point   string    // the point's id
	Value   Value     // raw value in the device's own unit; nil when Quality is Bad
	Quality Quality   // Good unless the driver knows better
	Why     string    // reason, set when Quality is not Good: "checksum", "no_match", ...
	Time    time.Time // when it was measured; zero: the hub stamps it on arrival
}

// WhyUnsupported is the reason of a bad reading where this very device has nothing of
// the kind, and never will. It is the only one that does not make the device degraded.
const WhyUnsupported = "unsupported"

// Type is the type of a point's values.
type Type uint8

// The types.
const (
	Float Type = iota // float64
	Int               // int64
	Bool              // bool
	Text              // string
	Bytes             // []byte
)

var typeNames = [...]string{"float", "int", "bool", "text", "bytes"}

// String returns the name used in configuration and descriptions.
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return "invalid"
}

// ParseType returns the type named s.
func ParseType(s string) (Type, bool) {
	for i, n := range typeNames {
		if s == n {
			return Type(i), true
		}
	}
	return 0, false
}

// Point describes one value of a device.
type Point struct {
	ID   string // one URI component: a-z 0-9 _
	Type Type
	Unit string // UCUM code of the scaled value, "" for none
	// Scale and Offset turn the driver's value into the published one: value*Scale +
	// Offset, where the driver knows them, from a data sheet for example. The
	// configuration goes before them; the hub applies them. Scale 0 = 1.
	Scale, Offset float64
	Description   string
	Readable      bool
	Writable      bool
	Min, Max      *float64 // allowed range of writes, before scaling, nil = unbounded
	Enum          []string // allowed texts of a Text point, nil = any
}

// Action describes something a device can do that is more than setting a point.
type Action struct {
	ID          string // one URI component: a-z 0-9 _
	Description string
	Args        []Point // keyword arguments; ID, Type, Unit, Min, Max, Enum apply
	Progressive bool    // reports progress while it runs
}

// Description is what a device is made of. It does not change while the driver
// runs.
type Description struct {
	Model   string // what it is, for people
	Points  []Point
	Actions []Action
}

// Driver is one device. Implementations also implement those of Reader, Writer
// and Doer that apply.
type Driver interface {
	// Describe returns the device's points and actions. It may be called before
	// Run and at any time; the answer is always the same.
	Describe() Description

	// Run opens the device and serves it until ctx ends (then it returns nil) or
	// the device is lost (then it returns why; the hub calls Run again after a
	// backoff). It calls link.Up once the device is reachable and link.Emit for
	// readings that the device sends by itself. Everything that Run opened or
	// started is closed and finished when it returns.
	Run(ctx context.Context, link Link) error
}

// Link is how a running driver reports to the hub. It is safe for concurrent use.
type Link interface {
	// Up says that the device is reachable: the hub reports it online.
	Up()
	// Emit hands over a reading. It blocks while the hub is busy, at most until
	// the driver's ctx ends.
	Emit(r Reading)
	// Garbage counts input that could not be decoded; sample is a short excerpt
	// for the operator. It never becomes a value.
	Garbage(why string, sample []byte)
}

// Reader is implemented by drivers whose points are polled. The hub calls Read
// on its schedule and for "get"; only while Run is running. ctx has a deadline.
type Reader interface {
	Read(ctx context.Context, points []string) ([]Reading, error)
}

// Pusher is implemented by Readers of devices that report by themselves what has
// changed. The hub asks them for "get", and on a schedule only where the configuration
// gives one.
type Pusher interface {
	// Pushes does nothing.
	Pushes()
}

// Writer is implemented by drivers with writable points. The value is raw (the
// scaling is already undone) and has been validated. It returns what the device
// reports to have set, or the value itself where the device does not say. It is
// only called while Run is running; ctx has a deadline and says who asked (CallerOf).
type Writer interface {
	Write(ctx context.Context, point string, v Value) (Value, error)
}

// Sharer is implemented by drivers of devices that share a wire with others. Such
// a driver gives the wire to one request at a time by itself, the most urgent first
// (internal/lane), because only it knows when the wire is free; the context of a
// request says how urgent it is (lane.Of). The hub therefore calls Write, and Read
// for "get", also while a Read of its schedule waits for the wire, and parks a device
// that does not answer, which costs the others time.
type Sharer interface {
	// Wire names what is shared, for people: "/dev/ttyUSB0", "192.0.2.7:502".
	Wire() string
}

// Doer is implemented by drivers with actions. progress may be called any number
// of times before Do returns; it is never nil. ctx says who asked (CallerOf).
type Doer interface {
	Do(ctx context.Context, action string, args map[string]any, progress func(any)) (any, error)
}

// Env is what a driver gets from its surroundings.
type Env struct {
	Device string           // the device's id, for messages
	Dir    string           // folder of the configuration file, for relative paths
	Log    *slog.Logger     // narrowed to the device; never nil
	Now    func() time.Time // the clock; never nil
	// Mount has requests for a path on the gateway's own port answered by h, until the
	// function that it returns is called, for devices that come to the gateway. The
	// port has checked host and origin, and bounds the time of requests, but not whose
	// they are: that is up to h. The paths are "/hook/DEVICE" and "/dev/DEVICE". It is
	// nil where there is no port, such as when a configuration is checked.
	Mount func(path string, h http.Handler) (unmount func(), err error)
	// Programs are the way to programs that serve devices. It is nil where there is no
	// router, such as when a configuration is checked.
	Programs Programs
}

// Kind is one family of drivers, listed in cmd/gateway/kinds.go.
type Kind struct {
	// Name selects the kind in configuration: driver = "line".
	Name string
	// Config returns a pointer to a new configuration struct with TOML tags and
	// defaults set; the configuration loader fills it strictly (an unknown key is
	// an error) and passes it to New.
	Config func() any
	// New validates the configuration and returns a driver that has not been
	// started. An error names the key as *ConfigError. nil = a Finder makes the
	// drivers, see FoundKind.
	New func(cfg any, env Env) (Driver, error)
	// Agree, if not nil, checks what several devices of this kind must agree upon,
	// such as the speed of a line that they share. It gets the configurations of all
	// that are in order and not disabled, by name, and returns what is wrong with
	// those that must not run, as *ConfigError. It keeps nothing.
	Agree func(devices map[string]any) map[string]error
	// Finder, if not nil, is how devices of this kind are found where the
	// configuration has a table [discovery.NAME].
	Finder *FinderKind
}

// ConfigError tells which key of a device's configuration is wrong and what
// would be right. The loader adds file and line.
type ConfigError struct {
	Key     string // dotted, relative to the device's table: "port.path"
	Text    string // what is wrong
	Allowed string // what is allowed; may be empty
}

// Error returns key, text and what is allowed.
func (e *ConfigError) Error() string {
	s := fmt.Sprintf("%s: %s", e.Key, e.Text)
	if e.Allowed != "" {
		s += "; allowed: " + e.Allowed
	}
	return s
}

// OtherError is what Run returns where the device turns out to be made of something else
// than the driver describes. The hub runs Driver in its place; where the description of
// that does not fit the configuration, it says so and runs the old one again.
type OtherError struct {
	Driver Driver // not started
}

// Error says that the device is another.
func (e *OtherError) Error() string { return "the device describes itself anew" }

// Errors that a driver returns (wrapped) so that the hub answers callers with
// the right URI.
var (
	// ErrOffline: the device is not there.
	ErrOffline = errors.New("device is offline")
	// ErrTimeout: the device did not answer in time.
	ErrTimeout = errors.New("device did not answer in time")
	// ErrBusy: the device cannot take the request now.
	ErrBusy = errors.New("device is busy")
	// ErrRefused: the device answered that it will not.
	ErrRefused = errors.New("device refused")
	// ErrNotVerified: the device reports another value than was written.
	ErrNotVerified = errors.New("device reports another value")
)

// Why says in one word why a request failed, as the reason of a bad reading.
func Why(err error) string {
	switch {
	case errors.Is(err, ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, ErrOffline):
		return "offline"
	case errors.Is(err, ErrBusy):
		return "busy"
	case errors.Is(err, ErrRefused):
		return "refused"
	}
	return "error"
}
