package router

import (
	"hash/fnv"

	"gantry/wamp"
)

// nodeKeys are the node keys of the members of one subscription
// (AP "Sharded Subscriptions"). An event with a resource key goes to the members
// of one node key, chosen by rendezvous hashing, so that a resource keeps its node
// while others come and go; members without a node key receive everything.
type nodeKeys map[*session]string

func (n nodeKeys) with(s *session, key string) nodeKeys {
	if key == "" {
		return n
	}
	if n == nil {
		n = nodeKeys{}
	}
	n[s] = key
	return n
}

func (n nodeKeys) without(s *session) nodeKeys {
	delete(n, s)
	if len(n) == 0 {
		return nil
	}
	return n
}

// node chooses the node key for a resource; ok is false when the event is not
// sharded.
func (n nodeKeys) node(resource string) (node string, ok bool) {
	if resource == "" || len(n) == 0 {
		return "", false
	}
	best := uint64(0)
	for _, key := range n {
		if score := rendezvous(key, resource); !ok || score > best || score == best && key < node {
			node, best, ok = key, score, true
		}
	}
	return node, true
}

func (n nodeKeys) takes(s *session, node string) bool {
	key, sharded := n[s]
	return !sharded || key == node
}

// rendezvous scores a node for a resource: the highest score takes it.
func rendezvous(node, resource string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(node))
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(resource))
	// FNV spreads the last bytes badly over the high bits.
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	return x
}

// shard chooses the callee that serves a resource among those of a shared
// registration (AP "Sharded Registration", partitioned calls). A callee is known
// by its authid, which outlives its sessions.
func (r *registration) shard(resource string) *callee {
	var best *callee
	top := uint64(0)
	for _, c := range r.callees {
		if score := rendezvous(c.session.identity.AuthID, resource); best == nil || score > top {
			best, top = c, score
		}
	}
	return best
}

// The values of CALL.Options.runmode.
const (
	runModeOne       = ""
	runModePartition = "partition"
)

// sharding checks the options of a call that has some to do with shards.
func sharding(o *wamp.CallOptions) *wamp.Error {
	switch {
	case o.RunMode != runModeOne && o.RunMode != runModePartition:
		return wamp.NewError(wamp.ErrURIFeatureNotSupported, "the run mode is not supported; allowed: partition", nil)
	case o.RunMode == runModePartition && o.RKey == "":
		return wamp.NewError(wamp.ErrURIInvalidArgument, "a partitioned call needs rkey", nil)
	}
	return nil
}
