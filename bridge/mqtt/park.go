package mqtt

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"gantry/bridge"
	"gantry/internal/backoff"
	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/serialize"
)

// Parking is a bounded queue on disk whose oldest records make room for new ones.
type Parking interface {
	// Append returns when the record is on disk.
	Append(ctx context.Context, record []byte) (seq uint64, err error)
	// Read hands at most limit records behind after to each, in order, and waits for
	// one if there is none. lost > 0 stands for that many that are gone.
	Read(ctx context.Context, after uint64, limit int, each func(epoch, seq uint64, record []byte, lost uint64)) error
	// Ack drops the records up to seq.
	Ack(ctx context.Context, seq uint64) error
	// Counters returns at least appended (the last number given) and acknowledged
	// (the last one dropped).
	Counters() map[string]uint64
}

// parkedMessage is a record of a Parking, in JSON.
type parkedMessage struct {
	Topic    string `json:"topic"`
	Payload  []byte `json:"payload"`
	QoS      byte   `json:"qos"`
	Retained bool   `json:"retained"`
	Reason   string `json:"reason"`
	At       int64  `json:"at"` // microseconds UTC
}

// park sets a message aside. It returns an error if that was not possible before
// ctx ended.
func (c *Client) park(ctx context.Context, m bridge.Message, reason error) error {
	c.rare.Warn("a message is set aside, as the realm refuses what it says", "topic", m.Topic, "tries", maxTries, "error", reason)
	if c.deps.Parked == nil {
		c.dropped.Add(1)
		return nil
	}
	record, err := json.Marshal(parkedMessage{m.Topic, m.Payload, m.QoS, m.Retained, reason.Error(), time.Now().UnixMicro()})
	if err != nil {
		return fmt.Errorf("park %.80q: %w", m.Topic, err)
	}
	wait := backoff.New(c.retry, nil)
	for {
		_, err := c.deps.Parked.Append(ctx, record)
		if err == nil {
			c.parked.Add(1)
			return nil
		}
		c.rare.Warn("a message cannot be set aside", "topic", m.Topic, "error", err)
		if wait.Wait(ctx) != nil {
			return err
		}
	}
}

// listed is how many parked messages are listed at a time.
const listed = 100

// list returns parked messages behind after, oldest first.
func (c *Client) list(ctx context.Context, after uint64) (wamp.List, error) {
	out := wamp.List{}
	if c.deps.Parked == nil {
		return out, nil
	}
	n := c.deps.Parked.Counters()
	after = max(after, n["acknowledged"])
	for after < n["appended"] && len(out) < listed {
		err := c.deps.Parked.Read(ctx, after, listed-len(out), func(_, seq uint64, record []byte, lost uint64) {
			after = seq
			var m parkedMessage
			if lost > 0 || json.Unmarshal(record, &m) != nil {
				return
			}
			out = append(out, wamp.Dict{
				"broker": c.name, "seq": int64(seq), "topic": strings.ToValidUTF8(m.Topic, "?"), "payload": m.Payload,
				"qos": int64(m.QoS), "retained": m.Retained, "reason": m.Reason, "at": m.At,
			})
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// ServeParked registers gantry.<gateway>.sys.mqtt.parked and .sys.mqtt.drop, by
// which the messages that were set aside are listed and dropped (docs/topics.md,
// section 7).
func ServeParked(ctx context.Context, sess wamp.Session, gateway string, clients []*Client) error {
	for verb, f := range map[string]func(context.Context, []*Client, wamp.Dict) (wamp.Payload, error){"parked": parked, "drop": dropParked} {
		uri := wamp.URI("gantry." + gateway + ".sys.mqtt." + verb)
		h := func(ctx context.Context, inv *wamp.Invocation, _ func(wamp.Payload) error) (wamp.Payload, error) {
			args, kwargs, err := serialize.Values(inv.Payload)
			if err != nil || len(args) > 0 {
				return wamp.Payload{}, wamp.NewError(wamp.ErrURIInvalidArgument, "it takes keyword arguments only", wamp.Dict{"allowed": wamp.List{"broker", "after", "up_to"}})
			}
			return f(ctx, clients, kwargs)
		}
		if err := client.Insist(ctx, func(ctx context.Context) error {
			_, err := sess.Register(ctx, uri, wamp.RegisterOptions{}, h)
			return err
		}, func(error) {}); err != nil {
			return fmt.Errorf("register %s: %w", uri, err)
		}
	}
	return nil
}

func parked(ctx context.Context, clients []*Client, kwargs wamp.Dict) (wamp.Payload, error) {
	name, _ := kwargs["broker"].(string)
	after := position(kwargs["after"])
	all := wamp.List{}
	for _, c := range clients {
		if name != "" && c.name != name {
			continue
		}
		l, err := c.list(ctx, after)
		if err != nil {
			return wamp.Payload{}, err
		}
		all = append(all, l...)
	}
	return wamp.Args(all), nil
}

func dropParked(ctx context.Context, clients []*Client, kwargs wamp.Dict) (wamp.Payload, error) {
	name, _ := kwargs["broker"].(string)
	upTo := position(kwargs["up_to"])
	for _, c := range clients {
		if c.name != name || c.deps.Parked == nil {
			continue
		}
		n := c.deps.Parked.Counters()
		if upTo == 0 || upTo > n["appended"] {
			return wamp.Payload{}, wamp.NewError(wamp.ErrURIOutOfRange, "up_to is the seq of a parked message", wamp.Dict{"up_to": int64(upTo), "max": int64(n["appended"])})
		}
		return wamp.Payload{}, c.deps.Parked.Ack(ctx, upTo)
	}
	return wamp.Payload{}, wamp.NewError(wamp.ErrURIInvalidArgument, "broker is the name of a broker", wamp.Dict{"broker": name})
}

// position reads a sequence number; 0 for anything else.
func position(v any) uint64 {
	switch v := v.(type) {
	case int64:
		return uint64(max(v, 0))
	case uint64:
		return v
	}
	return 0
}
