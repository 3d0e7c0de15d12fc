package bridge

import (
	"bytes"
	"maps"
	"time"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

// Restamp returns the payload of an event that the gateway published on topic with its
// time put right: where that was a guess of this start of the machine and the clock has
// been set since, ts and since are moved by what the guess was wrong by, up goes, and
// clk is sync. late is by how much ts was moved. Anything else is returned as it is.
// What was raw is raw again, in its format.
func (o *Origin) Restamp(topic wamp.URI, p wamp.Payload) (right wamp.Payload, late time.Duration) {
	if !o.own.Matches(wamp.MatchPrefix, topic) {
		return p, 0
	}
	if p.Format() == wamp.NoFormat {
		args, kwargs, err := serialize.Values(p)
		if err != nil || kwargs["clk"] != "guess" {
			return p, 0
		}
		kwargs = maps.Clone(kwargs)
		if late, ok := o.restamp(kwargs); ok {
			return wamp.Values(args, kwargs), late
		}
		return p, 0
	}
	args, raw := p.Raw()
	if !bytes.Contains(raw, []byte("guess")) {
		return p, 0
	}
	v, err := serialize.ParseValue(p.Format(), raw, serialize.Limits{Bytes: len(raw)})
	kwargs, ok := v.(wamp.Dict)
	if err != nil || !ok || kwargs["clk"] != "guess" {
		return p, 0
	}
	if late, ok = o.restamp(kwargs); !ok {
		return p, 0
	}
	if raw, err = serialize.AppendValue(nil, p.Format(), kwargs); err != nil {
		return p, 0
	}
	return wamp.RawPayload(p.Format(), args, raw), late
}

// restamp puts the time of an envelope right, if that is possible now, and returns by
// how much it has moved.
func (o *Origin) restamp(kwargs wamp.Dict) (late time.Duration, ok bool) {
	ts, ok1 := kwargs["ts"].(int64)
	up, ok2 := kwargs["up"].(int64)
	ep, ok3 := kwargs["ep"].(int64)
	if !ok1 || !ok2 || !ok3 || ep < 1 {
		return 0, false
	}
	right, ok := o.cfg.Clock.Right(uint64(ep), up)
	if !ok {
		return 0, false
	}
	kwargs["ts"], kwargs["clk"] = right, "sync"
	if since, ok := kwargs["since"].(int64); ok {
		kwargs["since"] = since + (right - ts)
	}
	delete(kwargs, "up")
	return time.Duration(right-ts) * time.Microsecond, true
}
