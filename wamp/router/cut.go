package router

import "gantry/wamp"

// cutCalls are the progressive calls that were answered, or refused, before the
// caller had sent the last chunk: what still arrives of them is dropped, for the caller could
// not know yet (AP "Progressive Call Invocations").
type cutCalls struct {
	requests map[wamp.ID]struct{}
}

// maxCut bounds the calls remembered for one session. A caller that leaves more
// of them unfinished opens new calls with its late chunks.
const maxCut = 256

func (c *cutCalls) note(request wamp.ID) {
	if len(c.requests) >= maxCut {
		return
	}
	if c.requests == nil {
		c.requests = map[wamp.ID]struct{}{}
	}
	c.requests[request] = struct{}{}
}

// drops reports whether m is a late chunk. The last one is forgotten with it.
func (c *cutCalls) drops(m *wamp.Call) bool {
	if _, ok := c.requests[m.Request]; !ok {
		return false
	}
	if !m.Options.Progress {
		delete(c.requests, m.Request)
	}
	return true
}
