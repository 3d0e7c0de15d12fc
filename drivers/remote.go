package drivers

import "context"

// Programs are how a driver reaches the program that serves its device, wherever that
// runs.
type Programs interface {
	// Connect opens the way to the program of a device, for one run of the driver.
	Connect(ctx context.Context, device string) (Remote, error)
	// Admit returns environment variables by which a program that the driver starts
	// finds the gateway and logs in, with the right to serve this device and no other.
	// They are good until the function is called.
	Admit(device string) (env []string, revoke func(), err error)
}

// Remote is the way to a program that serves one device. It is safe for concurrent use.
type Remote interface {
	// Await waits until the program serves a verb.
	Await(ctx context.Context, verb string) error
	// Call calls a verb and returns its result, nil for none. progress, unless it is
	// nil, gets what comes before; it is not called once Call has returned. When ctx
	// ends the call is cancelled. The error is one of this package where the program or
	// the way to it says so: ErrOffline if nobody serves the verb, or does so no longer.
	// Values are nil, bool, int64, uint64, float64, string, []byte, and lists ([]any) and
	// dictionaries (map[string]any) of them.
	Call(ctx context.Context, verb string, args []any, kwargs map[string]any, progress func(any)) (any, error)
	// Close gives the way up. It waits for calls.
	Close()
}
