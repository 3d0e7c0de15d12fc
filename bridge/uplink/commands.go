package uplink

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"gantry/wamp"
)

// maxProgress bounds the progressive results of one call that wait for the far
// connection. They must not hold up the local session, over which the events
// come, so a call that produces more is cancelled.
const maxProgress = 256

// Commands are the procedures of the gateway that may be called from afar. It is
// safe for concurrent use.
type Commands struct {
	local   wamp.Session
	prefix  string // gantry.<gateway>.
	classes []string

	rejected atomic.Uint64
}

// NewCommands returns the procedures of classes; calls go over local.
func NewCommands(gateway string, classes []string, local wamp.Session) *Commands {
	return &Commands{local: local, prefix: "gantry." + gateway + ".", classes: slices.Clone(classes)}
}

// Classes returns the classes.
func (c *Commands) Classes() []string { return slices.Clone(c.classes) }

// Prefixes returns "gantry.<gateway>.<class>." of each class.
func (c *Commands) Prefixes() (all []wamp.URI) {
	for _, class := range c.classes {
		all = append(all, wamp.URI(c.prefix+class+"."))
	}
	return all
}

// URI returns the procedure with the rest of a name, <class>.<device>.<name>.
func (c *Commands) URI(rest string) wamp.URI { return wamp.URI(c.prefix + rest) }

// Reject counts a command from afar of which no call was made.
func (c *Commands) Reject() { c.rejected.Add(1) }

// Rejected returns how many commands were rejected.
func (c *Commands) Rejected() uint64 { return c.rejected.Load() }

// allowed reports whether procedure is one of the chosen classes.
func (c *Commands) allowed(procedure wamp.URI) bool {
	rest, own := strings.CutPrefix(string(procedure), c.prefix)
	class, name, _ := strings.Cut(rest, ".")
	return own && name != "" && slices.Contains(c.classes, class) && procedure.Valid(false, wamp.MatchExact)
}

// Call passes a call on to the local router. Whatever the far side says, nothing but
// the chosen classes is called. progress is told of progressive results; nil = none
// are wanted.
func (c *Commands) Call(ctx context.Context, procedure wamp.URI, opts wamp.CallOptions, p wamp.Payload, progress func(wamp.Payload) error) (wamp.Payload, error) {
	if !c.allowed(procedure) {
		c.Reject()
		return wamp.Payload{}, wamp.NewError(wamp.ErrURINoSuchProcedure, "not a procedure of this uplink", nil)
	}
	if progress == nil {
		return c.local.Call(ctx, procedure, opts, p)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// Sent by the local session's reader, received below, closed when no more come.
	results := make(chan wamp.Payload, maxProgress)
	var sender sync.WaitGroup
	sender.Go(func() {
		for p := range results {
			if err := progress(p); err != nil {
				cancel(err)
			}
		}
	})
	result, err := c.local.CallProgress(ctx, procedure, opts, p, func(p wamp.Payload) {
		select {
		case results <- p:
		default:
			cancel(wamp.NewError(wamp.ErrURIUnavailable, "progressive results come faster than the uplink takes them", nil))
		}
	})
	close(results)
	// The result must not overtake them.
	sender.Wait()
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return wamp.Payload{}, cause
	}
	return result, err
}
