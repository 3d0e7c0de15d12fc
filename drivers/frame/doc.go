// Package frame drives devices that speak binary protocols over a serial port or
// TCP, described by configuration alone: how frames begin and end, which checksum they
// carry, by which bytes their kinds are told apart, and where values are in them.
// Frames come by themselves or answer requests; points and actions are written by
// templates of bytes.
//
// Each frame is dealt with in this order: the answer that a request waits for; the
// answer to an earlier request that came too late; readings. What is no frame, fails
// its checksum or fits no message is counted as garbage and never becomes a value.
package frame

import "gantry/drivers"

// Kind is the entry of this package for the list of drivers.
var Kind = drivers.Kind{
	Name:   "frame",
	Config: func() any { return new(Config) },
	New: func(cfg any, env drivers.Env) (drivers.Driver, error) {
		return New(*cfg.(*Config), env)
	},
}
