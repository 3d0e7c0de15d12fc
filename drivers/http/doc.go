// Package http makes devices of what speaks HTTP: devices that are polled, written
// and told to do something by requests, and devices that post to the gateway by
// themselves (a webhook).
//
// What a device answers or posts is bounded, taken apart by drivers/internal/text,
// and becomes a value or a reason for there being none. Redirects lead to no other
// host, and secrets are never logged.
//
// Source: RFC 9110, HTTP Semantics.
package http

import (
	"fmt"

	"gantry/drivers"
)

// Kind is the entry of this package for the list of drivers.
var Kind = drivers.Kind{
	Name:   "http",
	Config: func() any { return new(Config) },
	New: func(cfg any, env drivers.Env) (drivers.Driver, error) {
		return New(*cfg.(*Config), env)
	},
}

func bad(key, allowed, format string, args ...any) error {
	return &drivers.ConfigError{Key: key, Text: fmt.Sprintf(format, args...), Allowed: allowed}
}
