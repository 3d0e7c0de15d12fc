package drivers

import (
	"context"
	"fmt"
)

// Finder is a source of devices that appear by themselves: boards that are plugged
// in, devices that announce themselves at a broker.
type Finder interface {
	// Run looks for devices until ctx ends (then it returns nil) or the source is
	// lost (then it returns why; the hub calls Run again after a backoff). What it
	// has reported stays reported until it says otherwise. Everything that Run
	// opened or started for looking is closed and finished when it returns.
	Run(ctx context.Context, found Found) error
}

// Found is how a running Finder reports to the hub. It is safe for concurrent use.
type Found interface {
	// Appeared reports a device that is there. For one that was reported before it
	// says that it is another now: a device that runs is replaced if its description
	// has changed, else nothing happens. It returns once the hub has taken it, after
	// seconds where a device has to be stopped for it: a driver that ends must not
	// wait for its finder. The error says why the hub does not take it: it is not
	// valid, or there are too many.
	Appeared(ctx context.Context, c Candidate) error
	// Vanished reports that a device is gone: unplugged, or taken away by its broker.
	// One that is merely not reachable has not vanished.
	Vanished(ctx context.Context, kind, id string)
}

// Candidate is a device that has been found. Whether the hub takes it in is for
// people or the configuration to decide.
type Candidate struct {
	// Kind names the family of drivers, one of cmd/gateway/kinds.go: driver = "node".
	Kind string
	// ID identifies the device among all of its kind, for ever: a serial number, a
	// hardware address. 1 to 128 of A-Z a-z 0-9 and . _ : / -
	ID string
	// Name is the proposed name, one URI component: a-z 0-9 _. It depends on the
	// device only, so that it is the same after a restart.
	Name string
	// Returns says that the driver waits for the device by itself: when an accepted
	// device vanishes it stays, offline, until it appears again.
	Returns bool
	// Model and Description say what it is, for people; any text.
	Model, Description string
	// New builds the driver; it is called for each device made of the candidate, and
	// again for one whose driver has panicked. Every driver that it returns describes
	// the same.
	New func(env Env) (Driver, error)
}

// FinderKind makes the finder of a kind of devices.
type FinderKind struct {
	// Config returns a pointer to a new configuration struct, as Kind.Config does.
	Config func() any
	// New validates the configuration and returns a finder that has not been started.
	// An error names the key as *ConfigError.
	New func(cfg any, env Env) (Finder, error)
}

// maxCandidateID bounds Candidate.ID.
const maxCandidateID = 128

// Validate reports what is wrong with the identity of the candidate.
func (c *Candidate) Validate() error {
	if c.Kind == "" || c.New == nil {
		return fmt.Errorf("candidate %.64q: Kind and New are required", c.ID)
	}
	if !validID(c.ID) {
		return fmt.Errorf("candidate of kind %s: %.140q is no identity; allowed: %s", c.Kind, c.ID, allowedID)
	}
	return nil
}

// Key returns kind and ID as one word, which is what people call the candidate:
// "node:55736303831351".
func (c *Candidate) Key() string { return CandidateKey(c.Kind, c.ID) }

// CandidateKey returns the key of the candidate with that kind and ID.
func CandidateKey(kind, id string) string { return kind + ":" + id }

const allowedID = "1 to 128 of A-Z a-z 0-9 . _ : / -"

func validID(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < '-' || c > ':') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= maxCandidateID
}

// FoundConfig is the configuration of a device that a Finder finds; whatever else
// there is to say about it, it says by itself.
type FoundConfig struct {
	// Found is the ID of the candidate.
	Found string `toml:"found"`
}

// FoundKind returns a kind whose devices are found: its New is nil, and the hub
// waits for the candidate.
func FoundKind(name string) Kind {
	return Kind{Name: name, Config: func() any { return new(FoundConfig) }, Agree: agreeFound}
}

// agreeFound refuses two devices that are the same candidate.
func agreeFound(devices map[string]any) map[string]error {
	owner := make(map[string]string, len(devices))
	for name, cfg := range devices {
		id := cfg.(*FoundConfig).Found
		if other, taken := owner[id]; !taken || name < other {
			owner[id] = name
		}
	}
	wrong := make(map[string]error)
	for name, cfg := range devices {
		if id := cfg.(*FoundConfig).Found; owner[id] != name {
			wrong[name] = &ConfigError{Key: "found", Text: fmt.Sprintf("%.140q is device %s", id, owner[id]), Allowed: "each once"}
		}
	}
	return wrong
}

// Validate checks the configuration. The error is a *ConfigError.
func (c *FoundConfig) Validate() error {
	if !validID(c.Found) {
		return &ConfigError{Key: "found", Text: fmt.Sprintf("%.140q is no identity of a device", c.Found), Allowed: allowedID}
	}
	return nil
}
