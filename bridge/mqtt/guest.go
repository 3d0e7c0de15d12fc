package mqtt

import (
	"context"
	"slices"

	"gantry/bridge"
)

// visits are the guests' uses of one connection.
type visits struct {
	client *Client
	conn   *connection
	turn   chan struct{} // one slot, which guards what follows: subscriptions change one after the other
	had    []bridge.FilterQoS
	wanted map[bridge.Guest][]string
}

// visit is one guest's.
type visit struct {
	*visits
	guest bridge.Guest
}

var _ bridge.Carrier = visit{}

// visits returns the guests' uses of a connection that is not yet subscribed to
// anything.
func (c *Client) visits(x *connection) *visits {
	v := &visits{client: c, conn: x, turn: make(chan struct{}, 1), wanted: map[bridge.Guest][]string{}}
	for _, g := range c.deps.Guests {
		v.wanted[g] = g.Filters()
	}
	v.had = v.filters()
	return v
}

// begin tells the guests that they may use the connection.
func (v *visits) begin() {
	for _, g := range v.client.deps.Guests {
		g.Connected(visit{v, g})
	}
}

// end tells them that it is over.
func (v *visits) end(why error) {
	for _, g := range v.client.deps.Guests {
		g.Lost(why.Error())
	}
}

// guestQoS is the quality of service that guests' topics are subscribed with.
const guestQoS = 1

// filters returns what to subscribe to at the broker for rules and guests together. The
// guests' are not made disjoint, which might widen them to everything that there is: a
// topic that two of them match by chance may come twice.
func (v *visits) filters() []bridge.FilterQoS {
	list := v.client.pass.filters(v.client.rules.Filters())
	var all []bridge.Filter
	for _, g := range v.client.deps.Guests {
		for _, s := range v.wanted[g] {
			f, err := bridge.ParseFilter(s)
			if err != nil {
				continue
			}
			all = append(all, f)
			if q := (bridge.FilterQoS{Filter: f, QoS: guestQoS}); !covers(list, q) {
				list = append(list, q)
			}
		}
	}
	v.client.pass.guests.Store(&all)
	return list
}

// Send implements bridge.Carrier.
func (v visit) Send(ctx context.Context, m bridge.Message) error { return v.conn.publish(ctx, m) }

// Subscribe implements bridge.Carrier. What the broker refuses is logged.
func (v visit) Subscribe(ctx context.Context, filters []string) error {
	select {
	case v.turn <- struct{}{}:
		defer func() { <-v.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	v.wanted[v.guest] = filters
	want := v.filters()
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
