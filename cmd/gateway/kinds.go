package main

import (
	"gantry/bridge/shapes"
	"gantry/drivers"
	"gantry/drivers/board"
	"gantry/drivers/exec"
	"gantry/drivers/external"
	"gantry/drivers/frame"
	"gantry/drivers/gpio"
	"gantry/drivers/http"
	"gantry/drivers/i2c"
	"gantry/drivers/line"
	"gantry/drivers/modbus"
	"gantry/drivers/node"
	"gantry/drivers/onewire"
	"gantry/drivers/sim"
	"gantry/drivers/wsdev"
	"gantry/internal/config"
)

// kinds lists the families of drivers that are in the binary. The devices of one
// list share serial lines and buses, so a gateway uses one list for all of its devices.
func kinds() []drivers.Kind {
	list := []drivers.Kind{board.Kind, exec.Kind, external.Kind, frame.Kind, gpio.Kind, http.Kind, i2c.NewKind(), line.Kind, modbus.NewKind(config.Decode), node.NewKind(), onewire.Kind, sim.Kind, wsdev.Kind}
	return append(list, shapes.Kinds()...)
}
