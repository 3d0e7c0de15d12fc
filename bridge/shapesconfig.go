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
	// Zigbee2MQTT is about the shape of that name.
	Zigbee2MQTT Zigbee2MQTTConfig `toml:"zigbee2mqtt"`
}

// Zigbee2MQTTConfig is the table [zigbee2mqtt] of a broker.
type Zigbee2MQTTConfig struct {
	// BaseTopic is mqtt.base_topic in the configuration of Zigbee2MQTT. Default
	// "zigbee2mqtt".
	BaseTopic string `toml:"base_topic"`
}

// Base returns the base topic, or the default.
func (c *Zigbee2MQTTConfig) Base() string {
	if c.BaseTopic == "" {
		return ShapeZigbee2MQTT
	}
	return c.BaseTopic
}

// maxBase is the longest base topic.
const maxBase = 256

func (c *Zigbee2MQTTConfig) validate(named bool) error {
	t := c.BaseTopic
	switch {
	case t == "":
		return nil
	case !named:
		return bad("zigbee2mqtt.base_topic", `only with "zigbee2mqtt" in shapes`, "is there without the shape")
	case CheckTopic(t) != nil, len(t) > maxBase, t[0] == '/', t[0] == '$', t[len(t)-1] == '/':
		return bad("zigbee2mqtt.base_topic", `a topic such as "zigbee2mqtt" or "house/zigbee", without wildcards, at most 256 bytes`, "is %.80q", t)
	}
	return nil
}

// Validate checks the configuration. The error is a *ConfigError.
func (c *ShapesConfig) Validate() error {
	for i, s := range c.Shapes {
		if !slices.Contains(Shapes, s) || slices.Contains(c.Shapes[:i], s) {
			return bad("shapes", `each once of "homeassistant", "shelly", "tasmota", "zigbee2mqtt"`, "has %.40q", s)
		}
	}
	if err := c.Zigbee2MQTT.validate(slices.Contains(c.Shapes, ShapeZigbee2MQTT)); err != nil {
		return err
	}
	switch {
	case c.Accept != "" && c.Accept != "all" && c.Accept != "none":
		return bad("accept", `"all", "none"`, "is %.40q", c.Accept)
	case c.Accept != "" && len(c.Shapes) == 0:
		return bad("accept", "only with shapes", "is there without shapes")
	}
	return nil
}

// Topics returns filters of what devices of the shapes are known to say, before any has
// appeared. Those of Shelly are too wide to tell.
func (c *ShapesConfig) Topics() (all []string) {
	for _, s := range c.Shapes {
		switch s {
		case ShapeHomeAssistant:
			all = append(all, "homeassistant/+/+/config", "homeassistant/+/+/+/config")
		case ShapeTasmota:
			all = append(all, "tasmota/discovery/#", "tele/#", "stat/#")
		case ShapeZigbee2MQTT:
			// Not base/#, below which are the topics for commands to devices, too.
			base := c.Zigbee2MQTT.Base()
			all = append(all, base+"/+", base+"/+/availability", base+"/bridge/state", base+"/bridge/info", base+"/bridge/devices", base+"/bridge/groups")
		}
	}
	return all
}

// AcceptAll reports whether devices are accepted without asking.
func (c *ShapesConfig) AcceptAll() bool { return c.Accept != "none" }
