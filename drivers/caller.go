package drivers

import "context"

// Caller is who asked for a write or an action. The zero value is nobody: the hub
// itself, as with safe values.
type Caller struct {
	Session uint64 // id of the session; 0 where the router does not tell who calls
	AuthID  string
	Role    string
	// ForAuthID and ForRole are for whom that session calls, as it says: the user of
	// another router, for one that passes calls on, such as an uplink. "" = itself.
	ForAuthID, ForRole string
}

type callerKey struct{}

// WithCaller returns a context that says who asked for what is done with it.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerOf returns who asked for the request with this context; the hub says so for
// Write and Do.
func CallerOf(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}
