package shapes

import (
	"log/slog"
	"maps"
	"sync"

	"gantry/bridge/shapes/internal/shape"
)

// Stats are a host's counters since it was made, and its devices.
type Stats struct {
	Devices  uint64 // that are there
	Received uint64 // messages
	Unknown  uint64 // messages of no device that is known
	Refused  uint64 // messages that were not understood, and parts of them
	Dropped  uint64 // questions to devices that were not sent, readings, events and answers that nobody takes
	// RefusedFor and DroppedFor are the same by reason (docs/metrics.md). They are the caller's.
	RefusedFor, DroppedFor map[string]uint64
}

// Stats returns the counters.
func (h *Host) Stats() Stats {
	s := Stats{Devices: h.devices.Load(), Received: h.received.Load(), Unknown: h.unknown.Load()}
	s.Refused, s.RefusedFor = h.refused.read()
	s.Dropped, s.DroppedFor = h.dropped.read()
	return s
}

// counts are numbers by reason, of which there are few.
type counts struct {
	mu sync.Mutex // guards n
	n  map[string]uint64
}

func (c *counts) add(why string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]uint64{}
	}
	c.n[why] += uint64(n)
}

func (c *counts) read() (all uint64, by map[string]uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.n {
		all += n
	}
	return all, maps.Clone(c.n)
}

// Why something is dropped.
const (
	dropTooMany      = "too_many"      // questions wait
	dropNotSent      = "not_sent"      // a question, as the broker or the connection failed
	dropNotConnected = "not_connected" // questions that waited when the connection was lost
	dropTooFast      = "too_fast"      // readings or progress come faster than they are taken
	dropNotRunning   = "not_running"   // events of a device that the hub does not run
	dropRetained     = "retained"      // an event, or an answer, that the broker has kept
	dropUnclaimed    = "unclaimed"     // an answer that nobody waits for any more
)

// drop counts what is lost on its way, and logs a sample.
func (h *Host) drop(why string, n int, args ...any) {
	if n == 0 {
		return
	}
	h.dropped.add(why, n)
	h.rare.Info("dropped: "+why, args...) // each reason is a kind of line
}

// refuse counts a message that was not understood, and logs a sample.
func (h *Host) refuse(name string, r *shape.Refusal) {
	h.refused.add(r.Why, 1)
	h.rare.Log(slog.LevelWarn, "message not understood: "+r.Why, // each reason is a kind of line
		"shape", name, "device", r.Device, "detail", r.Detail, "sample", string(r.Sample))
}
