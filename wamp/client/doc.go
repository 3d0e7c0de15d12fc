// Package client is the application's side of WAMP.
//
// A Session is one membership in a realm over one connection, in process or
// remote; a Client is a session that comes back: it reconnects and restores what
// was subscribed and registered. Both implement wamp.Session, so an application
// does not know which it has.
//
// # Components
//
// A Component is written once and run by Run, inside the router's process
// (Embedded) or anywhere else (URL): only the Dialer differs. Nothing is encoded on
// the way between a component and a router of the same process.
//
// # Values
//
// Register, Subscribe, Call, Publish and their kin carry Go values. How a type T
// lies in the positional and keyword arguments of a message:
//
//   - wamp.Payload is the arguments as they are.
//   - struct{} is no arguments.
//   - A struct with "wamp" tags, or a pointer to one, is laid out by them:
//     `wamp:"0"` is positional argument 0, `wamp:"unit"` the keyword argument unit,
//     `wamp:"*"` on a slice all other positional arguments, `wamp:"**"` on a
//     wamp.Dict all keyword arguments, and `wamp:"<product>"` a part of the URI's
//     Template. With ",optional" an argument may be missing, and is left out where
//     it is the zero value. Fields without a tag take no part.
//   - Any other type is positional argument 0. A struct without tags is a dictionary
//     there, its fields named by their cbor or json tags.
//
// Publish and Call take any number of arguments: a single one that has a layout of
// its own, as above, is all of them; several are positional.
//
// A payload that does not fit is a *MismatchError, which says what was expected; the
// caller of a procedure gets it as wamp.error.invalid_argument. More positional
// arguments than there is place for are refused by procedures only. A missing
// argument is the nil of a pointer, slice, map or interface that is argument 0 by
// itself.
//
// Inside the process a Go value that has the receiver's type already is handed over
// as it is, with whatever it points to, and must not be changed any more. Values for
// an any, a wamp.List or a wamp.Dict are what they would be from a remote session:
// int64, float64 and so on.
package client
