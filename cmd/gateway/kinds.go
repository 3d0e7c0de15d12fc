package main

import (
	"gantry/drivers"
	"gantry/drivers/line"
	"gantry/drivers/sim"
)

// kinds lists the families of drivers that are in the binary.
func kinds() []drivers.Kind {
	return []drivers.Kind{line.Kind, sim.Kind}
}
