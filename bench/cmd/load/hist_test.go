package main

import (
	"testing"
	"time"
)

func TestQuantilesAreWithinThreePercent(t *testing.T) {
	t.Parallel()
	var h hist
	for i := range 100_000 {
		h.record(time.Duration(i) * time.Microsecond)
	}
	for _, q := range []float64{0.5, 0.99, 0.999} {
		want := q * 100_000
		if got := float64(h.quantile(q)) / 1000; got < 0.97*want || got > 1.03*want {
			t.Errorf("quantile %v is %v us, want %v", q, got, want)
		}
	}
	h.record(100 * time.Hour)
}
