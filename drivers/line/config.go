package line

import (
	"time"

	"gantry/drivers"
	"gantry/drivers/internal/talker"
	"gantry/drivers/internal/text"
	"gantry/drivers/serialport"
)

// Config is the driver's part of a device's table.
type Config struct {
	Port    serialport.Config       `toml:"port"`
	Line    serialport.LineConfig   `toml:"line"`
	Frame   serialport.FrameConfig  `toml:"frame"`
	Parse   ParseConfig             `toml:"parse"`
	Settle  drivers.Duration        `toml:"settle"` // wait after opening, for boards that start anew then; at most 1m
	Points  map[string]PointConfig  `toml:"point"`
	Actions map[string]ActionConfig `toml:"action"`
}

// What lines hold and how commands are sent.
type (
	ParseConfig  = talker.ParseConfig
	PointConfig  = talker.PointConfig
	WriteConfig  = talker.WriteConfig
	ActionConfig = talker.ActionConfig
	ArgConfig    = text.ArgConfig
)

const maxSettle = time.Minute

func bad(key, text, allowed string) error {
	return &drivers.ConfigError{Key: key, Text: text, Allowed: allowed}
}
