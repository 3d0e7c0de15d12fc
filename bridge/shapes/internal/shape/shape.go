// Package shape is what the known forms of announcing devices over MQTT have in
// common: a shape is a state machine that takes messages and says which devices
// there are, what they report, and which messages carry out a command. It has no
// socket, no clock and no goroutine.
package shape

import (
	"errors"
	"time"

	"gantry/drivers"
)

// Message is an MQTT message. Its payload belongs to the receiver of the struct,
// who must not change it.
type Message struct {
	Topic    string
	Payload  []byte
	Retained bool // from the broker's store: of unknown age
}

// Limits of what strangers may announce. What is beyond them is refused, and counted.
const (
	MaxDevices  = 1024     // of one shape
	MaxPoints   = 512      // of one device
	MaxEnum     = 256      // words of an enumeration
	MaxText     = 4 << 10  // bytes of a text value
	MaxAnnounce = 4 << 20  // bytes of a message that announces
	MaxState    = 64 << 10 // bytes of any other message
)

// Device is a device as it announces itself.
type Device struct {
	ID    string // among the devices of its shape, for ever
	Name  string // proposed name, any text
	Label string // as people call it
	drivers.Description
	// Readable points can be asked for with Shape.Read.
	Readable map[string]bool
}

// Reading is a reading of one device.
type Reading struct {
	Device string // its ID
	drivers.Reading
	Moment bool // tells of something that happened, and is over
}

// Presence tells whether a device can be reached.
type Presence struct {
	Device string
	Online bool
	Why    string // set when not online
}

// Result is the answer to a command with a token.
type Result struct {
	Token    string
	Progress any   // not nil: a step on the way, the answer is still to come
	Value    any   // the answer's details, for the caller of an action
	Err      error // wraps an error of package drivers where one fits
}

// Refusal is a message, or a part of one, that could not be used.
type Refusal struct {
	Device string // "" = none in particular
	Why    string // one of the words below
	Detail string // what exactly, for people; "" = nothing more
	Sample []byte
}

// Why a message is refused; docs/metrics.md explains the words. There are no others, as they
// are counted one by one.
const (
	Malformed      = "malformed"
	TooLarge       = "too_large"
	TooManyDevices = "too_many_devices"
	TooManyPoints  = "too_many_points"
	Incomplete     = "incomplete"
	BadComponent   = "component"
	BadConfig      = "config"
	BadGroup       = "group"
	BadTemplate    = "template"
	BadWord        = "word"
	Failed         = "error"
)

// Output is what follows from a message. The parts are to be taken in this order.
type Output struct {
	Vanished []string // devices that are gone
	Appeared []Device // devices that are new, or are different now
	Presence []Presence
	Readings []Reading
	Results  []Result
	Send     []Message
	Refused  []Refusal
	Old      []string // the devices whose events, or answers, the broker has kept; "" = none in particular
	Filters  bool     // Shape.Filters has changed
	Mine     bool     // the message is from a device, or a bridge, that the shape knows
}

// Add appends what o has.
func (o *Output) Add(p Output) {
	o.Vanished = append(o.Vanished, p.Vanished...)
	o.Appeared = append(o.Appeared, p.Appeared...)
	o.Presence = append(o.Presence, p.Presence...)
	o.Readings = append(o.Readings, p.Readings...)
	o.Results = append(o.Results, p.Results...)
	o.Send = append(o.Send, p.Send...)
	o.Refused = append(o.Refused, p.Refused...)
	o.Old = append(o.Old, p.Old...)
	o.Filters, o.Mine = o.Filters || p.Filters, o.Mine || p.Mine
}

// Refuse notes a message that could not be used. why is one of the words of Refusal.
func (o *Output) Refuse(device, why string, sample []byte) { o.RefuseFor(device, why, "", sample) }

// RefuseFor is Refuse with what exactly is wrong.
func (o *Output) RefuseFor(device, why, detail string, sample []byte) {
	o.Mine = true
	o.Refused = append(o.Refused, Refusal{device, why, detail, sample[:min(len(sample), 64)]})
}

// Skip notes that a message tells of an event, or answers, and has been kept by the broker:
// nobody knows when that was.
func (o *Output) Skip(device string) {
	o.Mine = true
	o.Old = append(o.Old, device)
}

// Emit appends a reading of a message. A retained message makes it uncertain.
func (o *Output) Emit(m *Message, device, point string, v drivers.Value) {
	r := drivers.Reading{Point: point, Value: v}
	if m.Retained {
		r.Quality, r.Why = drivers.Uncertain, "retained"
	}
	o.Readings = append(o.Readings, Reading{Device: device, Reading: r})
}

// Happen appends a reading of something that has just happened, such as that a button
// was pressed.
func (o *Output) Happen(device, point, word string) {
	o.Readings = append(o.Readings, Reading{Device: device, Reading: drivers.Reading{Point: point, Value: word}, Moment: true})
}

// EmitBad appends a reading without a value.
func (o *Output) EmitBad(device, point, why string) {
	o.Readings = append(o.Readings, Reading{Device: device, Reading: drivers.Reading{Point: point, Quality: drivers.Bad, Why: why}})
}

// Command is how a command is carried out and how its confirmation is recognised.
// Without Await and Token it is believed once the messages have been sent.
type Command struct {
	Send []Message
	// Await names points that the device reports when it has done so. Where Want is
	// not nil it holds the value that the first of them must have then.
	Await []string
	Want  drivers.Value
	// Tolerance is how far a number may be from Want.
	Tolerance float64
	// Token is that of the Result that answers. One with an error ends the wait; one
	// without does so only where nothing is awaited.
	Token string
	// Cancel is sent when the caller gives up, or has waited long enough.
	Cancel []Message
}

// Shape is one form of announcing devices. It is not safe for concurrent use.
type Shape interface {
	// Filters returns the topic filters of what Receive is to be given.
	Filters() []string
	// Connected starts afresh with the broker: it returns what to ask. The devices
	// stay as they are.
	Connected() []Message
	// Receive takes a message.
	Receive(m Message, now time.Time) Output
	// Read returns how a device is asked for points, which are Readable.
	Read(device string, points []string) (Command, error)
	// Write returns how a point is set. The value has been validated.
	Write(device, point string, v drivers.Value) (Command, error)
	// Do returns how an action is carried out. The arguments have been validated.
	Do(device, action string, args map[string]any) (Command, error)
}

// Timed is a Shape that knows that something is over without a message.
type Timed interface {
	Shape
	// Next returns when there may be something to expire, at the latest; zero = never.
	Next() time.Time
	// Expire returns what is over by now.
	Expire(now time.Time) Output
}

// ErrUnknown says that there is no such device, point or action: the device has changed since.
var ErrUnknown = errors.New("the device has no such point or action any more")
