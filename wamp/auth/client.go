package auth

import (
	"errors"
	"fmt"

	"gantry/wamp"
)

// Responder is the client's side of one method. It is used for one join after
// the other, each from Begin on, by one goroutine at a time. Ticket, CRA, SCRAM
// and Cryptosign implement it.
type Responder interface {
	// Methods returns the names under which the method is offered.
	Methods() []string
	// Begin starts over, and returns what goes into HELLO.Details.authextra, nil if
	// nothing does. An error tells that the method cannot be used on this link.
	Begin(authid string, link *Link) (extra wamp.Dict, err error)
	// Respond answers the router's challenge. An error tells that the router must
	// not get an answer. It may run a KDF, within the method's limits.
	Respond(c *wamp.Challenge) (*wamp.Authenticate, error)
	// Verify checks what WELCOME says about the router; methods that prove nothing
	// about it return nil.
	Verify(w *wamp.Welcome) error
}

var (
	_ Responder = (*Ticket)(nil)
	_ Responder = (*CRA)(nil)
	_ Responder = (*SCRAM)(nil)
	_ Responder = (*Cryptosign)(nil)
)

// Errors of the client's side; the routers that cause them are not to be
// trusted with the session.
var (
	// ErrRouterNotVerified tells that the router did not prove that it knows the
	// client.
	ErrRouterNotVerified = errors.New("the router has not proved that it is the right one")
	// ErrUnexpectedChallenge tells of a CHALLENGE for a method that was not offered,
	// or of a second one.
	ErrUnexpectedChallenge = errors.New("the router asks for what was not offered")
	// ErrNotChallenged tells of a WELCOME without a CHALLENGE: the session would be
	// somebody else's.
	ErrNotChallenged = errors.New("the router admits the session without authentication")
)

// Client answers for a session by whichever of its methods the router asks for.
// One goroutine uses it, for one join after the other.
type Client struct {
	authid     string
	responders []Responder
	offered    map[string]Responder
	chosen     Responder
	done       bool
}

// NewClient returns a Client that offers the responders' methods, the preferred
// one first. authid may be empty if all of them are Cryptosign.
func NewClient(authid string, responders ...Responder) *Client {
	return &Client{authid: authid, responders: responders}
}

// Hello starts a join: it puts authid, authmethods and authextra into the details
// of HELLO. Methods that this link does not allow are left out; if that is all of
// them, their errors are returned.
func (c *Client) Hello(link Link, details wamp.Dict) error {
	c.offered, c.chosen, c.done = map[string]Responder{}, nil, false
	methods, extra := wamp.List{}, wamp.Dict{}
	var errs []error
	for _, r := range c.responders {
		e, err := r.Begin(c.authid, &link)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for key, v := range e {
			if have, taken := extra[key]; taken && have != v {
				return fmt.Errorf("authentication: two methods want different values of %s", key)
			}
			extra[key] = v
		}
		for _, m := range r.Methods() {
			if c.offered[m] == nil {
				c.offered[m] = r
				methods = append(methods, m)
			}
		}
	}
	if len(methods) == 0 {
		return fmt.Errorf("authentication: no method is left: %w", errors.Join(errs...))
	}
	if c.authid != "" {
		details["authid"] = c.authid
	}
	details["authmethods"] = methods
	if len(extra) > 0 {
		details["authextra"] = extra
	}
	return nil
}

// Challenge returns the answer to the router's challenge. After an error the
// client sends ABORT and leaves.
func (c *Client) Challenge(m *wamp.Challenge) (*wamp.Authenticate, error) {
	r := c.offered[m.AuthMethod]
	if r == nil || c.chosen != nil {
		return nil, fmt.Errorf("challenge %q: %w", m.AuthMethod, ErrUnexpectedChallenge)
	}
	c.chosen = r
	a, err := r.Respond(m)
	if err != nil {
		return nil, fmt.Errorf("challenge %q: %w", m.AuthMethod, err)
	}
	c.done = true
	return a, nil
}

// Welcome checks that the router that admits the client is the one that
// challenged it, as far as the method tells.
func (c *Client) Welcome(m *wamp.Welcome) error {
	if !c.done {
		return ErrNotChallenged
	}
	return c.chosen.Verify(m)
}
