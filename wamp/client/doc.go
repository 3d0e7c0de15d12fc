// Package client is the application's side of WAMP. A Session is one membership
// in a realm over one peer, in process or remote; a Client is a session that
// comes back: it reconnects and restores what was subscribed and registered.
// Both implement wamp.Session, so a component does not know which it has.
package client
