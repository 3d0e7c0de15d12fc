// Package auth holds the maths of WAMP authentication, for both sides: ticket,
// wampcra, scram and cryptosign. It is pure: it reads no clock, no network and
// no file, starts nothing, and takes its random numbers from a reader.
package auth
