package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"

	"gantry/wamp"
)

// Ticket answers ticket challenges: it sends the ticket itself.
type Ticket struct {
	Ticket Secret
	// AllowPlain sends it over connections that others can read, too.
	AllowPlain bool
}

// Methods returns ticket.
func (*Ticket) Methods() []string { return []string{MethodTicket} }

// Begin refuses links that others can read.
func (t *Ticket) Begin(authid string, link *Link) (wamp.Dict, error) {
	switch {
	case authid == "":
		return nil, errors.New("ticket: no authid")
	case t.Ticket.Empty():
		return nil, errors.New("ticket: none is set")
	case !link.private() && !t.AllowPlain:
		return nil, errors.New("ticket: not sent over a connection without TLS")
	}
	return nil, nil
}

// Respond sends the ticket.
func (t *Ticket) Respond(*wamp.Challenge) (*wamp.Authenticate, error) {
	return &wamp.Authenticate{Signature: string(t.Ticket.Reveal()), Extra: wamp.Dict{}}, nil
}

// Verify returns nil: a ticket proves nothing about the router.
func (*Ticket) Verify(*wamp.Welcome) error { return nil }

type ticketProof struct {
	stored *StoredTicket
	derive Deriver
}

func (p *ticketProof) verify(a *wamp.Authenticate) (bool, wamp.Dict, string) {
	var hash []byte
	if p.stored.params == nil {
		sum := sha256.Sum256([]byte(a.Signature))
		hash = sum[:]
	} else {
		var err error
		if hash, err = p.derive(*p.stored.params, []byte(a.Signature)); err != nil {
			return false, nil, ""
		}
	}
	return subtle.ConstantTimeCompare(hash, p.stored.hash.Reveal()) == 1, nil, ""
}
