// Package interop drives WAMP clients that other people wrote, for tests that run
// Gantry's router and client against them.
package interop

import "testing"

// NeedAutobahn skips the test when Autobahn|Python is not installed, or fails it
// where peers are required.
func NeedAutobahn(t testing.TB) {
	t.Helper()
	AutobahnPython().Need(t)
}

// StartAutobahn joins realm at url with Autobahn|Python.
func StartAutobahn(t testing.TB, url, realm, serializer string) *Peer {
	t.Helper()
	p := AutobahnPython().Need(t).Start(t)
	p.Join(Join{URL: url, Realm: realm, Serializer: serializer})
	return p
}
