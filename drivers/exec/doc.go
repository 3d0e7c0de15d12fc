// Package exec makes devices of programs. A program runs once for each poll, write or
// action, and what it prints is taken apart; or it runs all the time and speaks lines
// of JSON: readings out, writes and actions in.
//
// No shell is involved. A program gets the environment that configuration names and
// nothing else, a process group of its own, and is killed with it when its time is
// over or the gateway dies. What it prints is bounded. Neither its arguments nor its
// environment are logged.
package exec

import (
	"fmt"

	"gantry/drivers"
)

// Kind is the entry of this package for the list of drivers.
var Kind = drivers.Kind{
	Name:   "exec",
	Config: func() any { return new(Config) },
	New: func(cfg any, env drivers.Env) (drivers.Driver, error) {
		return New(*cfg.(*Config), env)
	},
}

func bad(key, allowed, format string, args ...any) error {
	return &drivers.ConfigError{Key: key, Text: fmt.Sprintf(format, args...), Allowed: allowed}
}
