package bridge

import "context"

// Guest uses a connection to a broker for itself: the broker's client, or [Realm],
// gives it every message that it gets, and subscribes to what it wants besides.
type Guest interface {
	// Filters returns what to subscribe to when the broker is connected.
	Filters() []string
	// Connected is called when that has been done. c is of use until Lost.
	Connected(c Carrier)
	// Lost is called when the connection has ended.
	Lost(why string)
	// Receive is called with each message, one at a time. It must not block.
	Receive(m Message)
}

// Carrier is a guest's use of a connection. Its methods are safe for concurrent use.
type Carrier interface {
	// Send sends a message, and at QoS 1 and 2 waits until the broker has it.
	Send(ctx context.Context, m Message) error
	// Subscribe makes the broker deliver what the filters cover; what the guest has
	// asked for before, and nobody else needs, no more.
	Subscribe(ctx context.Context, filters []string) error
}
