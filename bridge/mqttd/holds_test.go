package mqttd

import (
	"strconv"
	"testing"
	"time"
)

func TestHoldingTime(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	h := newHolds()
	a, b := holder{"u", "a"}, holder{"u", "b"}
	if left := h.begin(a, now); left != clientHold {
		t.Fatalf("%v at first", left)
	}
	now = now.Add(time.Second)
	if left := h.begin(b, now); left != clientHold {
		t.Fatalf("%v for another client", left)
	}
	now = now.Add(time.Second)
	h.end(a, now)
	h.end(b, now)
	if left := h.begin(a, now); left != 0 {
		t.Errorf("%v again", left)
	}
	if left := h.accounts[holder{user: "u"}].left; left != userHold-2*time.Second {
		t.Errorf("waits at the same time left the user %v", left)
	}
	if now = now.Add(holdRefill * time.Second); h.begin(a, now) != time.Second {
		t.Errorf("%v later", h.accounts[a].left)
	}
	h.end(a, now)

	// Neither more clients nor more users than there is room for.
	for i := range maxAccounts {
		if who := (holder{strconv.Itoa(i), "c"}); h.begin(who, now) != 0 {
			h.end(who, now.Add(time.Second))
		}
	}
	now = now.Add(time.Second)
	if len(h.accounts) > maxAccounts || h.begin(holder{"late", "c"}, now) != 0 {
		t.Errorf("%d accounts", len(h.accounts))
	}
	now = now.Add(holdRefill * userHold)
	if h.begin(holder{"later", "c"}, now) != clientHold || len(h.accounts) > 2 {
		t.Errorf("%d accounts when all are full again", len(h.accounts))
	}
}
