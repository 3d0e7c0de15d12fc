package main

import (
	"math/bits"
	"time"
)

// hist counts durations in buckets that are 3 % wide.
type hist struct {
	n      uint64
	counts [60 * 32]uint64
}

func (h *hist) record(d time.Duration) {
	v := uint64(max(d, 0))
	i := int(v)
	if v >= 32 {
		shift := bits.Len64(v) - 6
		i = (shift+1)*32 + int(v>>shift) - 32
	}
	h.counts[i]++
	h.n++
}

// quantile returns the duration that the share q of all does not exceed.
func (h *hist) quantile(q float64) time.Duration {
	rank := uint64(q * float64(h.n))
	for i, c := range h.counts {
		if rank < c {
			if i < 32 {
				return time.Duration(i)
			}
			shift := i/32 - 1
			return time.Duration((uint64(i%32+32) << shift) + 1<<shift/2)
		}
		rank -= c
	}
	return 0
}
