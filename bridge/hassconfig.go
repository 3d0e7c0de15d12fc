package bridge

// HomeAssistantConfig says which devices of the gateway are shown to Home Assistant at
// a broker.
type HomeAssistantConfig struct {
	// Devices are their names; "*" stands for all. None by default. What has appeared
	// at the same broker is not among them.
	Devices []string `toml:"devices"`
	// Prefix is the topic that Home Assistant looks for discovery messages below. "" =
	// homeassistant.
	Prefix string `toml:"prefix"`
}

// WithDefaults returns c with the defaults in place of zero values.
func (c HomeAssistantConfig) WithDefaults() HomeAssistantConfig {
	if c.Prefix == "" {
		c.Prefix = ShapeHomeAssistant
	}
	return c
}

// Validate checks the configuration. The error is a *ConfigError.
func (c *HomeAssistantConfig) Validate() error {
	for _, d := range c.Devices {
		if d != "*" && !ValidName(d) {
			return bad("homeassistant.devices", `names of devices, or "*" for all`, "has %.80q", d)
		}
	}
	if c.Prefix != "" && CheckTopic(c.Prefix) != nil {
		return bad("homeassistant.prefix", "a topic name without wildcards", "is %.80q", c.Prefix)
	}
	return nil
}
