package bridge

import (
	"slices"
)

// The shapes: known ways in which devices announce themselves over MQTT.
const (
	ShapeHomeAssistant = "homeassistant"
	ShapeZigbee2MQTT   = "zigbee2mqtt"
	ShapeTasmota       = "tasmota"
	ShapeShelly        = "shelly"
)

// Shapes are all of them.
var Shapes = []string{ShapeHomeAssistant, ShapeShelly, ShapeTasmota, ShapeZigbee2MQTT}

// ShapesConfig says which devices appear by themselves at a broker.
type ShapesConfig struct {
	// Shapes are those to look for: "homeassistant", "shelly", "tasmota",
	// "zigbee2mqtt". None by default.
	Shapes []string `toml:"shapes"`
	// Accept says which devices become devices of the gateway without asking: "all",
	// or "none": people decide. Default "all", as the broker is the house's own.
	Accept string `toml:"accept"`
}

// Validate checks the configuration. The error is a *ConfigError.
func (c *ShapesConfig) Validate() error {
	for i, s := range c.Shapes {
		if !slices.Contains(Shapes, s) || slices.Contains(c.Shapes[:i], s) {
			return bad("shapes", `each once of "homeassistant", "shelly", "tasmota", "zigbee2mqtt"`, "has %.40q", s)
		}
	}
	switch {
	case c.Accept != "" && c.Accept != "all" && c.Accept != "none":
		return bad("accept", `"all", "none"`, "is %.40q", c.Accept)
	case c.Accept != "" && len(c.Shapes) == 0:
		return bad("accept", "only with shapes", "is there without shapes")
	}
	return nil
}

// AcceptAll reports whether devices are accepted without asking.
func (c *ShapesConfig) AcceptAll() bool { return c.Accept != "none" }
