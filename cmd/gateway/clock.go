package main

import (
	"context"
	"strconv"
	"time"

	"gantry/wamp"
)

// clockSetting is the setting of the store that holds what survives of the clock.
const clockSetting = "clock"

const (
	// clockLook is how often the clock is looked at when nobody else does: whether it
	// has been set.
	clockLook = 5 * time.Second
	// clockPeriod is how often it is written how late it is, for a next start without
	// a clock.
	clockPeriod = time.Hour
)

// buildTime returns when the program was made; zero when the build does not tell.
func buildTime() time.Time {
	seconds, err := strconv.ParseInt(built, 10, 64)
	if err != nil || seconds <= 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}

// startClock goes on where the clock of the run before ended. It comes before all who
// stamp. Without its setting it works, but for the guesses of earlier runs.
func (r *run) startClock() {
	b, err := r.store.Get(clockSetting)
	if err != nil {
		r.log.Warn("clock of the run before not read", "error", err)
	}
	if err := r.clock.Resume(b, r.store.Epoch()); err != nil {
		r.log.Warn("clock of the run before not used", "error", err)
	}
	r.saveClock()
	if !r.clock.Synced() {
		r.log.Warn("the clock is not set", "now", r.clock.Now().UTC(), "hint", "readings are marked clk = guess until a time server sets the machine's clock")
	}
	r.core.run("clock", r.keepClock)
}

// restamp puts the time of an event right that is served later than it was published.
func (g *Gateway) restamp(topic wamp.URI, p wamp.Payload) (wamp.Payload, time.Duration) {
	if origin := g.origin.Load(); origin != nil {
		return origin.Restamp(topic, p)
	}
	return p, 0
}

func (r *run) saveClock() {
	b, err := r.clock.Saved()
	if err == nil {
		err = r.store.Put(clockSetting, b)
	}
	if err != nil {
		r.log.Warn("clock not saved", "error", err, "hint", "look at the store and its disk")
	}
}

// keepClock notices when the clock is set, and saves it then and now and again.
func (r *run) keepClock(ctx context.Context) error {
	look, save := time.NewTicker(clockLook), time.NewTicker(clockPeriod)
	defer look.Stop()
	defer save.Stop()
	for {
		select {
		case <-look.C:
			r.clock.Synced()
			continue
		case <-r.clock.Changed():
			r.log.Info("the clock is set", "now", r.clock.Now().UTC())
		case <-save.C:
		case <-ctx.Done():
			return nil
		}
		r.saveClock()
	}
}
