package router

import (
	"crypto/rand"
	"fmt"
	"io"
	"time"

	"gantry/wamp"
)

// Config says what a router offers. The zero value of a field is its default.
type Config struct {
	// Agent is the router's name in WELCOME. Default "gantry".
	Agent string
	// Realms are the realms that peers may join. At least one.
	Realms []RealmConfig
	// OnDemand is asked for the configuration of a realm that is not configured, when
	// somebody wishes to join it; ok is false when it may not be. The realm is made
	// once the first session has logged in, and goes with the last. Nil: none is.
	OnDemand func(name wamp.URI) (cfg RealmConfig, ok bool)
	// MaxRealms bounds the realms that exist on demand. Default 64.
	MaxRealms int
	// HelloTimeout is the longest wait for HELLO on a new peer. Default 5 s.
	HelloTimeout time.Duration
	// Authenticate decides who a peer is. Default: NewAuthenticator of the zero
	// LoginConfig, which admits in-process and anonymous local peers.
	Authenticate Authenticator
	// Random is the source of session IDs. Default crypto/rand.Reader.
	Random io.Reader
}

// RealmConfig is one routing domain: sessions of different realms never see
// each other.
type RealmConfig struct {
	// Name is the realm's URI.
	Name wamp.URI
	// StrictURIs refuses URIs that break the strict rules (BP "URIs").
	StrictURIs bool
	// StrictRequestIDs aborts sessions whose request IDs do not run 1, 2, 3 ...;
	// otherwise any valid ID is taken, as older clients send random ones.
	StrictRequestIDs bool
	// Authorize is asked before a publication, subscription, registration or call
	// is carried out. Default: everything is allowed.
	Authorize Authorizer
	// Policy is asked in place of Authorize where it is set. Sessions of roles that
	// it does not know are refused, and it says who is disclosed to whom.
	Policy *Policy
	// MaxSubscriptions and MaxRegistrations bound what one session may hold.
	// Default 10,000 each.
	MaxSubscriptions, MaxRegistrations int
	// MaxTableBytes bounds what the subscriptions of all sessions together take in
	// memory, and the same for their registrations. Default 16 MiB each, about
	// 20,000 of either. In-process sessions are not bound by it.
	MaxTableBytes int
	// MaxCallBytes is the same for calls in progress. Default 16 MiB.
	MaxCallBytes int
	// MaxCalls bounds the calls that one session has in progress. Default 10,000.
	MaxCalls int
	// MaxRate bounds the messages that one session may send in a second, on average:
	// more of them are read later. 0 = no limit, besides that of the machine.
	MaxRate int
	// MaxRetained and MaxRetainedBytes bound the last values kept. Default 100,000
	// and 64 MiB. Over them a publication is routed but not kept, and counted.
	MaxRetained      int
	MaxRetainedBytes int
	// MaxStreams bounds the marks kept for wamp.Once. Default 100,000; over it the
	// mark that was used least recently goes.
	MaxStreams int
	// Overflow is what happens to the events of a subscriber that does not read fast
	// enough, unless its subscription says otherwise. Default drop oldest.
	Overflow wamp.Overflow
	// MaxBacklogBytes bounds the events that wait for one such subscriber besides
	// its queue. Default 256 KiB.
	MaxBacklogBytes int
	// MaxBacklogSum bounds them for all such subscribers together. Default 8 MiB.
	MaxBacklogSum int
	// TellOrigin fills in EventDetails.From and Kept, for transports of other protocols
	// in this process.
	TellOrigin bool
	// RetainedTTL is how long a last value is kept. 0 = until it is replaced.
	RetainedTTL time.Duration
	// Now is the clock of event histories; nil = time.Now.
	Now func() time.Time
	// Amend is handed what is served later than it was published: a last value, or an
	// event of a history. It returns the payload to serve, which may share memory with
	// the one it is given, and how much later than it was thought the publication was.
	// It must return soon and not call the router. nil = all is served as it was
	// published.
	Amend func(topic wamp.URI, p wamp.Payload) (amended wamp.Payload, late time.Duration)
	// History says of which topics the events are kept.
	History []HistoryRule
	// Keep is asked before an acknowledged publication is routed; an error refuses it,
	// as what must be kept and cannot be. It is called in the publisher's goroutine and
	// must not wait. nil = nothing is refused.
	Keep func(topic wamp.URI) *wamp.Error
	// Settle is asked when an acknowledged publication has been routed, or skipped as
	// sent before (wamp.Once). With true, the publisher gets its answer when done is
	// called, once, by any goroutine. It is called in the publisher's goroutine and must
	// not wait. nil = the answer comes at once.
	Settle func(topic wamp.URI, done func()) bool
	// MaxTestaments bounds the testaments of one session. Default 64.
	MaxTestaments int
	// MaxTestamentBytes bounds what those of all sessions together take in memory.
	// Default 4 MiB.
	MaxTestamentBytes int
	// MaxDefinitionBytes is the same for the descriptions for reflection. Default
	// 8 MiB, about 10,000 of them.
	MaxDefinitionBytes int
	// SessionBytes is what each session may take of each of these memories (of tables,
	// calls, testaments, descriptions), full or not: those who take it all keep nobody
	// else from a little. Default 16 KiB.
	SessionBytes int
}

// Identity is who a session is, as WELCOME tells it.
type Identity struct {
	AuthID, AuthRole, AuthMethod, AuthProvider string
	// TrustLevel is told to the receivers of the session's calls and publications
	// (AP "Call Trust Levels", "Publication Trust Levels"); nil = nothing is told.
	TrustLevel *uint32
	// Extra is WELCOME.Details.authextra: what the method proves to the client. It
	// is not kept.
	Extra wamp.Dict
	// Logout, if not nil, is called when the session says GOODBYE with
	// wamp.close.logout: what has been remembered of the login is to be forgotten.
	// The sessions of the same cookie in the realm end too.
	Logout func()
}

// Authentication methods that the router itself assigns.
const (
	methodAnonymous = "anonymous"
	methodInternal  = "internal" // a component of the process that runs the router
)

// Action is what an Authorizer is asked about.
type Action string

// The actions.
const (
	ActionPublish   Action = "publish"
	ActionSubscribe Action = "subscribe"
	ActionRegister  Action = "register"
	ActionCall      Action = "call"
)

// Authorizer reports whether a session may do action on uri; match is the policy
// of a subscription or registration. An error counts as refusal with
// wamp.error.authorization_failed. It is called on the message's way and must be
// quick.
type Authorizer func(who Identity, action Action, uri wamp.URI, match wamp.Match) (bool, error)

func orDefault[T int | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

func (c *Config) validate() error {
	if c.Agent == "" {
		c.Agent = "gantry"
	}
	orDefault(&c.HelloTimeout, 5*time.Second)
	if c.Authenticate == nil {
		c.Authenticate, _ = NewAuthenticator(LoginConfig{})
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	if len(c.Realms) == 0 {
		return fmt.Errorf("router: no realm is configured")
	}
	for i := range c.Realms {
		for _, other := range c.Realms[:i] {
			if other.Name == c.Realms[i].Name {
				return fmt.Errorf("router: realm %q is configured twice", other.Name)
			}
		}
		if err := c.Realms[i].complete(); err != nil {
			return err
		}
	}
	if c.OnDemand != nil {
		orDefault(&c.MaxRealms, 64)
	}
	return nil
}

// complete validates a realm's configuration and puts in the defaults.
func (r *RealmConfig) complete() error {
	if !r.Name.Valid(r.StrictURIs, wamp.MatchExact) || r.Name.Reserved() {
		return fmt.Errorf("router: realm %q is no valid URI", r.Name)
	}
	for j, h := range r.History {
		if !h.Topic.Valid(r.StrictURIs, h.Match) || h.MaxEvents < 0 {
			return fmt.Errorf("router: history %q of realm %q is no topic or pattern to keep", h.Topic, r.Name)
		}
		for _, other := range r.History[:j] {
			if other.Topic == h.Topic && other.Match == h.Match {
				return fmt.Errorf("router: history %q of realm %q is configured twice", h.Topic, r.Name)
			}
		}
	}
	if r.RetainedTTL < 0 {
		return fmt.Errorf("router: the time that last values of realm %q are kept is negative", r.Name)
	}
	if r.Authorize == nil {
		r.Authorize = func(Identity, Action, wamp.URI, wamp.Match) (bool, error) { return true, nil }
	}
	if r.Now == nil {
		r.Now = time.Now
	}
	if r.Amend == nil {
		r.Amend = func(_ wamp.URI, p wamp.Payload) (wamp.Payload, time.Duration) { return p, 0 }
	}
	orDefault(&r.MaxSubscriptions, 10_000)
	orDefault(&r.MaxRegistrations, 10_000)
	orDefault(&r.MaxCalls, 10_000)
	orDefault(&r.MaxTableBytes, 16<<20)
	orDefault(&r.MaxCallBytes, 16<<20)
	orDefault(&r.MaxRetained, 100_000)
	orDefault(&r.MaxRetainedBytes, 64<<20)
	orDefault(&r.MaxStreams, 100_000)
	if r.Overflow == wamp.OverflowDefault {
		r.Overflow = wamp.OverflowDropOldest
	}
	if r.Overflow > wamp.OverflowDisconnect {
		return fmt.Errorf("router: the overflow policy of realm %q is unknown", r.Name)
	}
	orDefault(&r.MaxBacklogBytes, 256<<10)
	orDefault(&r.MaxBacklogSum, 8<<20)
	orDefault(&r.MaxTestaments, 64)
	orDefault(&r.MaxTestamentBytes, 4<<20)
	orDefault(&r.MaxDefinitionBytes, 8<<20)
	orDefault(&r.SessionBytes, 16<<10)
	return nil
}
