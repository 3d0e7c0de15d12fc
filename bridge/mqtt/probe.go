package mqtt

import (
	"context"
	"strconv"
	"sync/atomic"
	"time"

	"gantry/bridge"
)

// prober knows, over all connections, whether the broker returns probes at all: an
// access list may forbid it, which some brokers do not tell.
type prober struct {
	worked atomic.Bool
	failed atomic.Int32 // connections in a row that ended or went on without
}

// probeFailures is how many connections a broker that has never returned a probe
// may cost.
const probeFailures = 2

// tell publishes that the client is there.
func (x *connection) tell(status string) error {
	if status == "" {
		return nil
	}
	return x.wait(context.Background(), x.client.Publish(status, 1, true, bridge.Online))
}

// echo takes a probe that has come back.
func (x *connection) echo(payload []byte) {
	if string(payload) != x.nonce() {
		return // of an earlier connection
	}
	select {
	case x.probed <- struct{}{}:
	default:
	}
}

// nonce tells the probes of this connection from those of others.
func (x *connection) nonce() string { return strconv.FormatInt(x.began.UnixNano(), 36) }

// watch asks for a sign of life when the broker has delivered nothing for a while,
// and ends the connection if there is none: until then the broker looks connected,
// and is deaf.
func (c *Client) watch(x *connection) {
	tick := time.NewTicker(c.cfg.Probe)
	defer tick.Stop()
	subscribed := false
	for {
		select {
		case <-tick.C:
		case <-x.done:
			return
		}
		quiet := time.Since(time.Unix(0, x.heard.Load())) >= c.cfg.Probe && x.handling.Load() == 0
		if !quiet || !c.probe.worked.Load() && c.probe.failed.Load() >= probeFailures {
			continue
		}
		if !subscribed && !c.subscribeProbe(x) {
			return
		}
		subscribed = true
		if !c.probeOnce(x) {
			x.end(errDeaf)
			return
		}
	}
}

// subscribeProbe reports whether the broker lets the client hear itself.
func (c *Client) subscribeProbe(x *connection) bool {
	filter, err := bridge.ParseFilter(c.cfg.ProbeTopic)
	if err != nil {
		return false
	}
	refused, err := x.subscribe([]bridge.FilterQoS{{Filter: filter}})
	if err == nil && refused != "" {
		c.log.Warn("the broker refuses the subscription to the probe: whether it delivers cannot be told",
			"topic", refused, "hint", "allow it, or set no_probe = true")
	}
	return err == nil && refused == ""
}

// probeOnce publishes a probe and reports whether it has come back, or whether
// that cannot be expected of this broker.
func (c *Client) probeOnce(x *connection) bool {
	select {
	case <-x.probed: // a late one
	default:
	}
	timeout := time.NewTimer(max(c.cfg.KeepAlive, 2*time.Second))
	defer timeout.Stop()
	err := x.publish(context.Background(), bridge.Message{Topic: c.cfg.ProbeTopic, Payload: []byte(x.nonce())})
	if err == nil {
		select {
		case <-x.probed:
			c.probe.worked.Store(true)
			c.probe.failed.Store(0)
			return true
		case <-timeout.C:
		case <-x.done:
		}
	}
	if x.handling.Load() == 1 {
		return true // the answer waits behind a message that the realm does not take yet
	}
	if n := c.probe.failed.Add(1); n == probeFailures && !c.probe.worked.Load() {
		c.log.Warn("the broker has never returned a probe: whether it delivers is not looked at any more",
			"topic", c.cfg.ProbeTopic, "hint", "allow the client to publish and subscribe to it, or set no_probe = true")
	}
	return false
}
