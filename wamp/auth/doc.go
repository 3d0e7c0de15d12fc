// Package auth holds the maths of WAMP authentication, for both sides: ticket,
// wampcra, scram and cryptosign. It is pure: it reads no clock, no network and
// no file, starts nothing, and takes its random numbers from a reader.
//
// # The router's side
//
// A Verifier knows the principals. It turns HELLO into an Exchange with the
// CHALLENGE to send, and the Exchange turns whatever the peer sends next into an
// Identity or a Refusal:
//
//	now := clock()
//	x, refusal := v.Begin(auth.Request{Hello: hello, Link: link, Session: id, Now: now})
//	if penalties.Wait(remote, x.AuthID(), now) > 0 { refuse }
//	send(x.Challenge())
//	m := recv()                       // a deadline at x.Expires() ends a silent peer
//	identity, refusal := x.Finish(m, clock())
//	if refusal.Guess { penalties.Failed(remote, x.AuthID(), clock()) }
//	else             { penalties.Succeeded(remote, identity.AuthID) }
//
// Refusal.Wire goes into ABORT, Refusal.Cause into the router's log only, and
// Identity.Extra into WELCOME.Details.authextra. The session ID is drawn before
// the challenge, since wampcra signs it. Finish may run the KDF of a hashed
// ticket: let one at a time do so.
//
// A router takes this, and all other ways to decide about a HELLO, through one
// function, which answers at once or asks for a round trip:
//
//	// Login is an authentication that waits for the peer's answer.
//	type Login interface {
//		Challenge() *wamp.Challenge
//		Expires() time.Time
//		// Finish takes the next message of the peer, whatever it is.
//		Finish(ctx context.Context, m wamp.Message) (auth.Identity, *wamp.Error)
//	}
//
//	// Authenticator decides on a HELLO: a Login to go through, or an identity
//	// (anonymous, in process, TLS certificate, cookie), or a refusal. session is
//	// the ID that the session will have.
//	type Authenticator func(ctx context.Context, link auth.Link, session wamp.ID,
//		hello *wamp.Hello) (Login, auth.Identity, *wamp.Error)
//
// A dynamic authenticator calls its procedure for the authid, parses the stored
// forms that it returns (ParseTicket, ParseCRA, ParseSCRAM, ParsePublicKey) into a
// Principal, and passes it in Request.Principal; when the procedure knows nobody
// it leaves it nil, and a decoy is challenged. Channel binding needs the TLS
// connection: transports with one implement interface{ TLS() *tls.ConnectionState },
// and ChannelsOf makes Link.Channels of it.
//
// # The client's side
//
// A Client offers Responders and goes through the three messages of a join:
//
//	c := auth.NewClient("alice", &auth.SCRAM{Password: p}, &auth.Ticket{Ticket: t})
//	err := c.Hello(link, details)        // authid, authmethods, authextra
//	answer, err := c.Challenge(challenge) // after an error: ABORT, and leave
//	err = c.Welcome(welcome)             // is it the router that was meant?
//
// One Client serves a session that reconnects; derived keys are kept in it, so
// that only the first join pays for the KDF. A client session takes it as a field
// of its configuration (nil: anonymous), in the place of names of methods and of a
// callback for challenges. Challenge may take seconds on a small board.
//
// # Users that do not exist
//
// They are challenged by a decoy, a principal made of an HMAC of the authid under
// a secret of the router. It has the same methods, costs and role as one of the
// principals there are, the same salt each time, and keys that nobody has. Known
// and unknown take the same way through the code; the one slow step, the KDF of a
// hashed ticket, is taken for both. What stays visible is what differs between
// principals: a router whose principals all have the same methods and costs shows
// nothing at all.
//
// # Dialects
//
// SCRAM is "wamp-scram" in the specification and "scram" in Autobahn and Crossbar,
// which also build AuthMessage without the GS2 header, leave the nonce out of
// AUTHENTICATE, put the verifier under scram_server_signature, and call Argon2
// "argon2id-13", whose key is base64 text (Argon2id13Text). Both are spoken, told
// apart by these names, and a principal may have a form of its password for each
// (Principal.SCRAMField); channel binding is there with "wamp-scram" only.
//
// Sources: AP "Authentication" and its chapters, RFC 5802, 7677, 8032, 9106 and
// 9266.
package auth
