package mqtt

import (
	"context"
	"slices"

	"gantry/bridge"
)

// Guest uses a client's connection for itself: it gets every message that the client
// gets, and has topics of its own.
type Guest interface {
	// Filters returns what to subscribe to when the broker is connected.
	Filters() []string
	// Connected is called when that has been done. The visit lasts until Lost.
	Connected(v *Visit)
	// Lost is called when the connection has ended.
	Lost(why string)
	// Receive is called with each message, one at a time. It must not block.
	Receive(m bridge.Message)
}

// Visit is a guest's use of one connection. Its methods are safe for concurrent use.
type Visit struct {
	client *Client
	conn   *connection
	turn   chan struct{} // one slot: subscriptions change one after the other
	had    []bridge.FilterQoS
}

// guestQoS is the quality of service that guests' topics are subscribed with.
const guestQoS = 1

// filters returns what to subscribe to at the broker for rules and guest together. The
// guest's are not made disjoint, which might widen them to everything that there is: a
// topic that two of them match by chance may come twice.
func (c *Client) filters(guest []string) []bridge.FilterQoS {
	list := c.pass.filters(c.rules.Filters())
	for _, s := range guest {
		f, err := bridge.ParseFilter(s)
		if q := (bridge.FilterQoS{Filter: f, QoS: guestQoS}); err == nil && !covers(list, q) {
			list = append(list, q)
		}
	}
	return list
}

// Send sends a message, and at QoS 1 and 2 waits until the broker has it.
func (v *Visit) Send(ctx context.Context, m bridge.Message) error { return v.conn.publish(ctx, m) }

// Subscribe makes the broker deliver what the filters cover besides what the rules
// need, and no more. What the broker refuses is logged.
func (v *Visit) Subscribe(ctx context.Context, filters []string) error {
	select {
	case v.turn <- struct{}{}:
		defer func() { <-v.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	want := v.client.filters(filters)
	fresh := slices.DeleteFunc(slices.Clone(want), func(f bridge.FilterQoS) bool { return covers(v.had, f) })
	gone := slices.DeleteFunc(slices.Clone(v.had), func(f bridge.FilterQoS) bool { return covers(want, f) })
	v.had = want
	refused, err := v.conn.subscribe(fresh)
	if err != nil {
		return err
	}
	if refused != "" {
		v.client.rare.Warn("the broker refuses a subscription", "filter", refused)
	}
	for part := range slices.Chunk(gone, filtersAtOnce) {
		var names []string
		for _, f := range part {
			names = append(names, f.Filter.String())
		}
		if err := v.conn.wait(ctx, v.conn.client.Unsubscribe(names...)); err != nil {
			return err
		}
	}
	return nil
}

// covers reports whether a filter is in a list.
func covers(list []bridge.FilterQoS, f bridge.FilterQoS) bool {
	return slices.ContainsFunc(list, func(o bridge.FilterQoS) bool { return o.Filter.String() == f.Filter.String() })
}
