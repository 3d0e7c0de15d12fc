package uplink

import (
	"context"
	"errors"

	"gantry/wamp"
)

// Sink is a far world: routers, brokers or servers of one kind at one address.
type Sink interface {
	// Connect makes a connection and returns when events can be sent; ctx bounds
	// that, not the connection. The uplink closes one connection before it asks for
	// the next.
	Connect(ctx context.Context) (Conn, error)
}

// Conn is one connection to a far world. Its methods are safe for concurrent use.
type Conn interface {
	// Send hands events over, in order, and returns when the connection takes more:
	// it need not wait for the answers. answered is called once for each event, by
	// its index, as soon as the far world has taken it (nil) or refused it (why: a
	// *Refusal, or any error, which counts as one that time may heal). Events without
	// an answer when the connection ends are sent again over the next. An error of
	// Send itself ends the connection. The slice may be kept, and must not be
	// changed.
	Send(ctx context.Context, events []Event, answered func(i int, err error)) error
	// Done is closed when the connection has ended, of itself or by Close.
	Done() <-chan struct{}
	// Err says why it has ended.
	Err() error
	// Close ends the connection and waits for what it has started.
	Close()
}

// Event is an event on its way.
type Event struct {
	// Topic is the name of the event, gantry.<gateway>.<class>.<device>.<name>.
	Topic wamp.URI
	// Epoch and Seq number the event in its queue for ever, unless it is Live. Lane is
	// what tells that queue from the uplink's main one: "" or UrgentLane.
	Epoch, Seq uint64
	Lane       string
	// Retain asks the far world to keep the event as the topic's last.
	Retain bool
	// Replay: the event was stored before the connection was made; its payload says
	// so, too.
	Replay bool
	// Live: a copy of a value that waits in the queue behind many others, or what
	// there is to tell of the queue. It is beside the stream: without numbers, and
	// sent once only.
	Live bool
	// Again: the event has been refused, or had to wait behind one of its topic that
	// was, so that events with higher numbers have gone before it.
	Again bool
	// Payload is the envelope (docs/topics.md, section 2), raw.
	Payload wamp.Payload
	// Passthru describes a payload that is foreign to WAMP; nil for all others.
	Passthru *wamp.Passthru
}

// UrgentLane is the Lane of events that overtake.
const UrgentLane = "-urgent"

// ErrBehind is the answer to an event that was not sent, as one before it on its topic
// has been refused. It is no refusal.
var ErrBehind = errors.New("not sent: an event before it on its topic has been refused")

// Refusal is the answer to an event that a far world does not take.
type Refusal struct {
	Cause error
	// Hopeless: there is no way to send it, so that it is set aside at once.
	Hopeless bool
	// Settled: the far world will not change its mind for being asked later.
	Settled bool
}

// Error returns the cause.
func (r *Refusal) Error() string { return r.Cause.Error() }

// Unwrap returns the cause.
func (r *Refusal) Unwrap() error { return r.Cause }
