package main

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

const limitURI = `"gantry.error.limit"`

// flood sends n requests, not many more than have been answered, and counts the
// answers. Whoever sends more without reading is ended for it.
func (r *raider) flood(n int, of func(i int) string, texts ...string) map[string]int {
	r.t.Helper()
	const window = 4000
	var wg sync.WaitGroup
	defer wg.Wait()
	counts := map[string]int{}
	for from := 0; from < n; from += window {
		size := min(window, n-from)
		wg.Go(func() { r.each(size, func(i int) string { return of(from + i) }) })
		r.count(counts, size, texts...)
		wg.Wait()
	}
	return counts
}

// hoard has many sessions ask for n things each, for as long as they get them.
func (s *siege) hoard(sessions, n int, of func(who, i int) string) (granted, refused int) {
	s.t.Helper()
	for who := range sessions {
		counts := s.infiltrate().flood(n, func(i int) string { return of(who, i) }, `[33,`, `[65,`, limitURI)
		granted += counts[`[33,`] + counts[`[65,`]
		refused += counts[limitURI]
	}
	s.t.Logf("%d granted, %d refused", granted, refused)
	return granted, refused
}

func subscriptionBombs(s *siege) {
	n := scale(100_000)
	if granted, refused := s.hoard(1, n, func(_, i int) string { return fmt.Sprintf(`[32,%d,{},"siege.topic.n%d"]`, i+1, i) }); granted > 10_000 || granted+refused != n {
		s.t.Errorf("one session got %d subscriptions of %d", granted, n)
	}
	filler := strings.Repeat("x", 900)
	s.hoard(scale(8), 10_000, func(who, i int) string {
		return fmt.Sprintf(`[32,%d,{"nkey":"%s"},"siege.%s.s%d.n%d"]`, i+1, filler, filler, who, i)
	})
}

func registrationBombs(s *siege) {
	n := scale(100_000)
	if granted, refused := s.hoard(1, n, func(_, i int) string { return fmt.Sprintf(`[64,%d,{},"siege.procedure.n%d"]`, i+1, i) }); granted > 10_000 || granted+refused != n {
		s.t.Errorf("one session got %d registrations of %d", granted, n)
	}
	filler := strings.Repeat("x", 900)
	s.hoard(scale(8), 10_000, func(who, i int) string {
		return fmt.Sprintf(`[64,%d,{},"siege.%s.s%d.n%d"]`, i+1, filler, who, i)
	})
}

// patternBombs makes the tables of patterns as large, and the matching as slow, as
// it can.
func patternBombs(s *siege) {
	// Each pattern has as many components as fit, and shares few with the others.
	deep := strings.Repeat(".x", 490)
	s.hoard(2, scale(10_000), func(who, i int) string {
		return fmt.Sprintf(`[32,%d,{"match":"wildcard"},"s%d.n%d.%s"]`, i+1, who, i, deep)
	})
	// All patterns that match one URI of 13 components.
	all := s.infiltrate()
	all.flood(8192, func(i int) string {
		parts := make([]string, 13)
		for j := range parts {
			if i>>j&1 == 1 {
				parts[j] = "a"
			}
		}
		return fmt.Sprintf(`[32,%d,{"match":"wildcard"},"%s"]`, i+1, strings.Join(parts, "."))
	})
	topic := strings.Repeat("a.", 12) + "a"
	r := s.infiltrate()
	r.each(scale(2000), func(i int) string { return fmt.Sprintf(`[16,%d,{},"%s",[1]]`, i+1, topic) })
	r.fence()
	// Prefixes of every length.
	many := s.infiltrate()
	long := strings.Repeat("p", 1023)
	many.flood(1000, func(i int) string { return fmt.Sprintf(`[32,%d,{"match":"prefix"},"%s"]`, i+1, long[:i]) })
	r.each(scale(2000), func(i int) string { return fmt.Sprintf(`[16,%d,{},"%s",[1]]`, i+1, long) })
	r.fence()
}

// deafSubscribers has sessions subscribe that never read again, and sends them
// events, small ones of which each queue has a copy, and large ones.
func deafSubscribers(s *siege) {
	for i := range scale(100) {
		policy := []string{"drop_oldest", "latest", "drop_newest", "disconnect"}[i%4]
		r := s.infiltrate()
		r.send(`[32,1,{"overflow":"` + policy + `","match":"prefix"},"siege.deaf."]`)
		r.fence()
	}
	publisher := s.infiltrate()
	for _, events := range []struct{ n, size int }{{6000, 500}, {max(scale(1000), 200), 20_000}} {
		body := strings.Repeat("x", events.size)
		publisher.each(events.n, func(i int) string {
			return fmt.Sprintf(`[16,%d,{},"siege.deaf.t%d",["%s"]]`, i+1, i%50, body)
		})
		publisher.fence()
	}
}

// deafCaller calls a procedure that answers without end, and does not read.
func deafCaller(s *siege) {
	callee := s.infiltrate()
	callee.send(`[64,1,{},"siege.talk"]`)
	callee.recv()
	for range scale(20) {
		caller := s.infiltrate()
		caller.send(`[48,1,{"receive_progress":true},"siege.talk"]`)
		invocation := callee.recv()
		if invocation == nil {
			s.t.Fatal("the callee has been ended for the caller's silence")
		}
		id := int64(invocation[1].(float64))
		body := strings.Repeat("x", 10_000)
		callee.each(1000, func(int) string { return fmt.Sprintf(`[70,%d,{"progress":true},["%s"]]`, id, body) })
	}
	callee.fence()
}

// unreadPipelines asks for large answers and reads none of them.
func unreadPipelines(s *siege) {
	talker := s.infiltrate()
	for i := range 20 {
		talker.send(fmt.Sprintf(`[64,%d,{},"siege.%0500d"]`, i+1, i))
	}
	talker.fence()
	var wg sync.WaitGroup
	for range scale(60) {
		r := s.infiltrate()
		_ = r.SetWriteDeadline(time.Now().Add(2 * time.Second))
		wg.Go(func() {
			r.each(100_000, func(i int) string { return fmt.Sprintf(`[48,%d,{},"wamp.reflection.procedure.list"]`, i+1) })
		})
	}
	wg.Wait()
	s.garrison.rounds(s.t, 20)
}

// metaFloods asks the router about itself as fast as it can.
func metaFloods(s *siege) {
	watcher := s.infiltrate() // of everything, and deaf
	watcher.send(`[32,1,{"match":"prefix"},"wamp."]`)
	watcher.fence()
	var wg sync.WaitGroup
	for k := range scale(8) {
		r := s.infiltrate()
		wg.Go(func() {
			r.each(2000, func(i int) string {
				switch i % 4 {
				case 0:
					return fmt.Sprintf(`[48,%d,{},"wamp.session.list"]`, i+1)
				case 1:
					return fmt.Sprintf(`[48,%d,{},"wamp.subscription.list"]`, i+1)
				case 2:
					return fmt.Sprintf(`[32,%d,{},"siege.meta.s%d.n%d"]`, i+1, k, i)
				}
				return fmt.Sprintf(`[48,%d,{},"wamp.subscription.match",["siege.meta"]]`, i+1)
			})
		})
		wg.Go(func() { r.drain() })
	}
	s.garrison.rounds(s.t, 20)
	s.hangUp()
	wg.Wait()
}

// testaments leaves and describes as much as is taken.
func testaments(s *siege) {
	body := strings.Repeat("x", 500_000)
	for range scale(6) {
		r := s.infiltrate()
		r.each(70, func(i int) string {
			return fmt.Sprintf(`[48,%d,{},"wamp.session.add_testament",["siege.testament.n%d",["%s"],{}],{"publish_options":{"retain":true}}]`, i+1, i, body)
		})
		r.each(70, func(i int) string {
			return fmt.Sprintf(`[48,%d,{},"wamp.reflect.define",["siege.defined.n%d",{"text":"%s"}]]`, i+101, i, body)
		})
		r.fence()
	}
}

// pendingCalls calls procedures that never answer.
func pendingCalls(s *siege) {
	callee := s.infiltrate()
	callee.send(`[64,1,{"invoke":"roundrobin"},"siege.silence"]`)
	callee.recv()
	other := s.raid() // can reroute, so that calls are kept
	other.send(`[1,"gantry",{"roles":{"callee":{"features":{"call_reroute":true,"call_canceling":true}}}}]`)
	other.recv()
	other.send(`[64,1,{"invoke":"roundrobin"},"siege.silence"]`)
	other.recv()
	var wg sync.WaitGroup
	for _, r := range []*raider{callee, other} {
		wg.Go(r.drain)
	}
	body := strings.Repeat("x", 1000)
	total := 0
	for range scale(5) {
		caller := s.infiltrate()
		n := 12_000
		caller.each(n, func(i int) string { return fmt.Sprintf(`[48,%d,{},"siege.silence",["%s"]]`, i+1, body) })
		counts := map[string]int{}
		const last int64 = 1 << 40
		caller.send(fmt.Sprintf(`[48,%d,{},"wamp.session.get",[]]`, last))
		for b := string(caller.next()); !strings.Contains(b, fmt.Sprint(last)); b = string(caller.next()) {
			if b == "" {
				s.t.Fatal("the caller was ended")
			}
			if strings.Contains(b, limitURI) {
				counts[limitURI]++
			}
		}
		if counts[limitURI] < 2000 {
			s.t.Errorf("%d calls of %d were refused for the limit, expected 2000 at least", counts[limitURI], n)
		}
		total += n - counts[limitURI]
	}
	s.t.Logf("%d calls in progress", total)
	s.hangUp()
	wg.Wait()
}

// timeouts has calls run out by the ten thousand.
func timeouts(s *siege) {
	callee := s.infiltrate()
	callee.send(`[64,1,{},"siege.late"]`)
	callee.recv()
	var wg sync.WaitGroup
	wg.Go(callee.drain)
	n := min(scale(10_000), 10_000)
	counts := s.infiltrate().flood(n, func(i int) string {
		return fmt.Sprintf(`[48,%d,{"timeout":%d},"siege.late"]`, i+1, 50+i%200)
	}, `"wamp.error.timeout"`)
	if counts[`"wamp.error.timeout"`] != n {
		s.t.Errorf("%v of %d", counts, n)
	}
	s.hangUp()
	wg.Wait()
}

// historyFlood publishes into a history that is kept on disk.
func historyFlood(s *siege) {
	body := strings.Repeat("x", 1000)
	r := s.infiltrate()
	r.each(scale(20_000), func(i int) string { return fmt.Sprintf(`[16,%d,{},"siege.history.n%d",["%s"]]`, i+1, i, body) })
	r.fence()
}

// wrongProofs guesses passwords.
func wrongProofs(s *siege) {
	began := time.Now()
	tried := 0
	n := scale(1000)
	for range n {
		r := s.raid()
		r.send(`[1,"gantry",{"authmethods":["wampcra"],"authid":"ann","roles":{"caller":{}}}]`)
		if m := r.recv(); len(m) > 0 && m[0] == 4.0 {
			tried++
			r.send(`[5,"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",{}]`)
		}
		r.ended()
		_ = r.Close()
	}
	if allowed := 2 + int(time.Since(began)/(5*time.Second)); tried > allowed {
		s.t.Errorf("%d of %d guesses were looked at, expected %d at most", tried, n, allowed)
	}
}

// retainedFlood has the last values of distinct topics kept up to the limit.
func retainedFlood(s *siege) {
	n, body := 110_000, strings.Repeat("x", 900)
	if underRace || testing.Short() {
		n, body = 16_000, strings.Repeat("x", 4800) // as many bytes
	}
	r := s.infiltrate()
	r.each(n, func(i int) string {
		return fmt.Sprintf(`[16,%d,{"retain":true},"siege.retained.n%d",["%s"]]`, i+1, i, body)
	})
	r.fence()
	filter := strings.Repeat("4503599627370495,", 30_000)
	r.each(scale(200), func(i int) string {
		return fmt.Sprintf(`[16,%d,{"retain":true,"exclude":[%s1]},"siege.filtered.n%d",[1]]`, i+200_000, filter, i)
	})
	r.fence()
	reader := s.infiltrate()
	reader.send(`[32,1,{"match":"prefix","get_retained":true},"siege."]`)
	s.garrison.rounds(s.t, 20)
	s.t.Logf("%.0f values, %.0f bytes are kept", s.metric("gantry_router_retained"), s.metric("gantry_router_retained_bytes"))
}
