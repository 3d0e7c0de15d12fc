package program

import (
	"fmt"
	"time"

	"gantry/drivers"
	"gantry/internal/launch"
)

// LimitsConfig is what a program may use at most. 0 = no limit of its own.
type LimitsConfig struct {
	Memory    uint64           `toml:"memory_bytes"` // heap, stacks and private mappings of a process; from 1 MiB
	CPUTime   drivers.Duration `toml:"cpu_time"`     // processor time since the start of a process, in whole seconds
	OpenFiles uint32           `toml:"open_files"`   // files and sockets of a process; from 8
	Processes uint32           `toml:"processes"`    // processes and threads of the gateway's user in all; does not hold for root
	FileSize  uint64           `toml:"file_bytes"`   // size of a file that it writes
	Nice      uint8            `toml:"nice"`         // how much it stands back behind others who want the processor: 0 to 19
}

const (
	minMemory    = 1 << 20
	minOpenFiles = 8
	maxNice      = 19
	// maxBytes is the largest integer that a configuration file holds.
	maxBytes = 1<<63 - 1
)

// Limits checks c, whose keys are below key. The error is a *drivers.ConfigError.
func (c *LimitsConfig) Limits(key string) (*launch.Limits, error) {
	bad := func(name, allowed string, value any) error {
		return &drivers.ConfigError{Key: key + "." + name, Text: fmt.Sprintf("%v is out of range", value), Allowed: allowed}
	}
	switch {
	case c.Memory != 0 && c.Memory < minMemory || c.Memory > maxBytes:
		return nil, bad("memory_bytes", fmt.Sprintf("0 (no limit), or from %d", minMemory), c.Memory)
	case c.CPUTime.Std()%time.Second != 0 || c.CPUTime.Std() > time.Hour*24*365:
		return nil, bad("cpu_time", "whole seconds up to a year", c.CPUTime)
	case c.OpenFiles != 0 && c.OpenFiles < minOpenFiles:
		return nil, bad("open_files", fmt.Sprintf("0 (no limit), or from %d", minOpenFiles), c.OpenFiles)
	case c.FileSize > maxBytes:
		return nil, bad("file_bytes", "0 (no limit) to 2^63-1", c.FileSize)
	case c.Nice > maxNice:
		return nil, bad("nice", fmt.Sprintf("0 to %d", maxNice), c.Nice)
	}
	return &launch.Limits{
		Memory: c.Memory, CPUTime: c.CPUTime.Std(), OpenFiles: uint64(c.OpenFiles), Processes: uint64(c.Processes), FileSize: c.FileSize, Nice: int(c.Nice),
	}, nil
}
