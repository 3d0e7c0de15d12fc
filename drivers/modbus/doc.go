// Package modbus drives devices that speak Modbus: RTU over a serial port, TCP,
// and RTU frames over TCP. A device is one unit with its points, which are bits
// and registers; a profile brings the points of a device on the market.
//
// Units that name the same port or address share a bus (see Buses): their requests
// take turns, writes first. The points of a read are fetched in as few blocks as
// the unit allows. RTU answers do not say which request they belong to; after one
// that did not come in time, the bus makes sure that a late answer is not taken
// for the next one's.
//
// The driver decodes and encodes; scaling, ranges and the schedule are the hub's.
//
// Sources: Modbus Application Protocol Specification V1.1b3; MODBUS over Serial
// Line, Specification and Implementation Guide V1.02; MODBUS Messaging on TCP/IP
// Implementation Guide V1.0b.
package modbus

import "gantry/drivers"

// NewKind returns the entry of this package for the list of drivers. Devices made
// by the same entry share buses, so a program has one. decode reads the shipped
// profiles.
func NewKind(decode Decoder) drivers.Kind { return newKind(NewBuses(), decode) }

func newKind(buses *Buses, decode Decoder) drivers.Kind {
	return drivers.Kind{
		Name:   "modbus",
		Config: func() any { return new(Config) },
		New: func(cfg any, env drivers.Env) (drivers.Driver, error) {
			return New(*cfg.(*Config), env, buses, decode)
		},
		Agree: func(devices map[string]any) map[string]error { return agree(devices, decode) },
	}
}
