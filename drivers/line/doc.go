// Package line drives devices that send lines of text over a serial port: scales,
// sensor boards, sketches on an Arduino. The lines are taken apart by a regular
// expression, as JSON, or as CSV; what does not fit is counted as garbage and
// never becomes a value. Points and actions are written by templates, with an
// acknowledgement where the device gives one.
//
// Each line is dealt with in this order: the answer that a write waits for; the
// answer to an earlier write that came too late; lines to ignore; readings.
//
// A digit that noise turns into another digit makes a line that is as good as the
// one sent. Only a checksum finds that, and lines of this kind have none.
package line

import "gantry/drivers"

// Kind is the entry of this package for the list of drivers.
var Kind = drivers.Kind{
	Name:   "line",
	Config: func() any { return new(Config) },
	New: func(cfg any, env drivers.Env) (drivers.Driver, error) {
		return New(*cfg.(*Config), env)
	},
}
