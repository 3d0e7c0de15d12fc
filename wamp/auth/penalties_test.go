package auth_test

import (
	"fmt"
	"testing"
	"time"

	"gantry/wamp/auth"
)

func TestPenaltiesGrowAndEnd(t *testing.T) {
	t.Parallel()
	p := auth.NewPenalties(auth.PenaltyConfig{})
	now := noon
	var waits []time.Duration
	for range 9 {
		w := p.Failed("192.0.2.1:1000", "alice", now)
		if got := p.Wait("192.0.2.1:2000", "alice", now); got != w {
			t.Errorf("the wait is %v, not %v", got, w)
		}
		waits = append(waits, w/time.Second)
		now = now.Add(w)
		if got := p.Wait("192.0.2.1:2000", "alice", now); got != 0 {
			t.Errorf("after the wait there is one of %v", got)
		}
	}
	if got := fmt.Sprint(waits); got != "[5ns 10ns 20ns 40ns 80ns 160ns 320ns 600ns 600ns]" {
		t.Errorf("waits in seconds: %s", got)
	}
	now = now.Add(20*time.Minute + 1)
	if w := p.Failed("192.0.2.1:1000", "alice", now); w != 5*time.Second {
		t.Errorf("what is long ago counts: %v", w)
	}
}

// Of 10,000 guesses from one source in an hour at most 100 are looked at.
func TestGuessesPerHour(t *testing.T) {
	t.Parallel()
	p := auth.NewPenalties(auth.PenaltyConfig{})
	tried := 0
	for i := range 10_000 {
		now := noon.Add(time.Duration(i) * 360 * time.Millisecond)
		authid := fmt.Sprint("user", i%500)
		if p.Wait("192.0.2.1:1000", authid, now) == 0 {
			tried++
			p.Failed("192.0.2.1:1000", authid, now)
		}
	}
	if tried > 100 {
		t.Errorf("%d guesses were looked at", tried)
	}
}

func TestPenaltiesAreForAddressAndAccount(t *testing.T) {
	t.Parallel()
	p := auth.NewPenalties(auth.PenaltyConfig{})
	p.Failed("192.0.2.1:1", "alice", noon)
	p.Failed("[2001:db8:1:2:3:4:5:6]:1", "", noon)
	for _, c := range []struct {
		remote, authid string
		waits          bool
	}{
		{"192.0.2.1:1", "bob", true}, {"192.0.2.2:1", "alice", true}, {"192.0.2.2:1", "bob", false}, {"192.0.2.1", "bob", true},
		{"[::ffff:192.0.2.1]:9", "bob", true}, {"[2001:db8:1:2:ffff::1]:9", "bob", true}, {"[2001:db8:1:3::1]:9", "bob", false},
		{"192.0.2.2:1", "", false}, {"unix", "bob", false}, {"", "", false},
	} {
		if got := p.Wait(c.remote, c.authid, noon) > 0; got != c.waits {
			t.Errorf("%s, %q: waits: %v", c.remote, c.authid, got)
		}
	}
}

func TestSuccessResetsAccountNotAddress(t *testing.T) {
	t.Parallel()
	p := auth.NewPenalties(auth.PenaltyConfig{})
	for range 4 {
		p.Failed("192.0.2.1:1", "alice", noon)
	}
	p.Succeeded("192.0.2.7:1", "alice")
	if w := p.Wait("192.0.2.2:1", "alice", noon); w != 0 {
		t.Errorf("the account waits %v", w)
	}
	if w := p.Wait("192.0.2.1:1", "bob", noon); w != 40*time.Second {
		t.Errorf("the address waits %v", w)
	}
}

func TestGuesserLocksNobodyOut(t *testing.T) {
	t.Parallel()
	p := auth.NewPenalties(auth.PenaltyConfig{})
	p.Succeeded("192.0.2.7:1", "alice")
	for range 20 {
		p.Failed("192.0.2.66:1", "alice", noon)  // somewhere else
		p.Failed("192.0.2.7:1", "mallory", noon) // a neighbour behind the same address
	}
	if w := p.Wait("192.0.2.7:5", "alice", noon); w != 0 {
		t.Errorf("alice waits %v where she has been before", w)
	}
	if w := p.Failed("192.0.2.7:5", "alice", noon); w != 5*time.Second {
		t.Errorf("guesses from there cost %v", w)
	}
	if w := p.Wait("192.0.2.7:5", "alice", noon); w != 5*time.Second {
		t.Errorf("guesses from there wait %v", w)
	}
}

func TestPenaltiesAreBounded(t *testing.T) {
	t.Parallel()
	p := auth.NewPenalties(auth.PenaltyConfig{Entries: 100})
	for i := range 10_000 {
		remote, authid := fmt.Sprintf("10.0.%d.%d:1", i/256, i%256), fmt.Sprint("user", i)
		p.Failed(remote, authid, noon)
		p.Succeeded(remote, authid)
		p.Failed("192.0.2.1:1", "alice", noon)
	}
	if n := p.Len(); n > 300 {
		t.Errorf("%d entries", n)
	}
	// What is in use is not what goes.
	if w := p.Wait("192.0.2.1:1", "", noon); w != 10*time.Minute {
		t.Errorf("the address waits %v", w)
	}
}

func TestClockSetBackDoesNotLockOut(t *testing.T) {
	t.Parallel()
	p := auth.NewPenalties(auth.PenaltyConfig{Max: time.Minute})
	for range 200 {
		p.Failed("192.0.2.1:1", "alice", noon)
	}
	if w := p.Wait("192.0.2.1:1", "alice", noon.AddDate(-56, 0, 0)); w != time.Minute {
		t.Errorf("the wait is %v", w)
	}
}

// Against a model that forgets nothing.
func FuzzPenalties(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9})
	f.Fuzz(func(t *testing.T, ops []byte) {
		p := auth.NewPenalties(auth.PenaltyConfig{First: time.Second, Max: time.Minute, Forget: 24 * 365 * time.Hour})
		type entry struct {
			count int
			until time.Time
		}
		model := map[string]*entry{}
		now := noon
		book := func(key string) time.Duration {
			e := model[key]
			if e == nil {
				e = &entry{}
				model[key] = e
			}
			w := time.Minute
			if e.count < 6 {
				w = time.Second << e.count
			}
			e.count++
			e.until = now.Add(w)
			return w
		}
		waits := func(key string) time.Duration {
			if e := model[key]; e != nil && e.count > 0 {
				return max(0, e.until.Sub(now))
			}
			return 0
		}
		for i, op := range ops {
			remote, authid := fmt.Sprintf("10.0.0.%d", op>>2&3), fmt.Sprintf("user%d", op>>4&3)
			a, u, pair := "a"+remote, "u"+authid, "p"+remote+authid
			switch known := model[pair] != nil; op & 3 {
			case 0, 1:
				want := time.Duration(0)
				if known {
					want = book(pair)
				} else {
					want = max(book(a), book(u))
				}
				if got := p.Failed(remote, authid, now); got != want {
					t.Fatalf("step %d: Failed is %v, want %v", i, got, want)
				}
			case 2:
				p.Succeeded(remote, authid)
				delete(model, u)
				model[pair] = &entry{}
			case 3:
				now = now.Add(time.Duration(op) * 100 * time.Millisecond)
			}
			want := max(waits(a), waits(u))
			if model[pair] != nil {
				want = waits(pair)
			}
			if got := p.Wait(remote, authid, now); got != want {
				t.Fatalf("step %d: Wait is %v, want %v", i, got, want)
			}
		}
	})
}
