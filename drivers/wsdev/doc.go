// Package wsdev makes devices of what speaks plain WebSocket with messages of JSON or
// text: devices that dial in, at /dev/DEVICE on the gateway's own port, and devices
// that are dialled. Messages become readings, writes and actions become messages, and
// answers are found among what the device sends.
//
// Source: RFC 6455, The WebSocket Protocol.
package wsdev

import "gantry/drivers"

// Kind is the entry of this package for the list of drivers.
var Kind = drivers.Kind{
	Name:   "wsdev",
	Config: func() any { return new(Config) },
	New: func(cfg any, env drivers.Env) (drivers.Driver, error) {
		return New(*cfg.(*Config), env)
	},
}
