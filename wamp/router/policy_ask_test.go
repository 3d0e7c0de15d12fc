package router_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gantry/wamp"
	"gantry/wamp/router"
)

var errAway = errors.New("nobody is there")

func neverAsk(context.Context, router.Question) (router.Answer, error) {
	return router.Answer{}, errors.New("nobody is to be asked")
}

// judge is an authorizer whose answers the test sets. It counts the questions.
type judge struct {
	answer router.Answer
	err    error
	delay  time.Duration
	asked  []string
}

func (j *judge) ask(ctx context.Context, q router.Question) (router.Answer, error) {
	j.asked = append(j.asked, fmt.Sprintf("%s: %s %s %s %s", q.Procedure, q.Who.AuthID, q.Action, q.Match, q.URI))
	if j.delay > 0 {
		select {
		case <-time.After(j.delay):
		case <-ctx.Done():
			return router.Answer{Allow: true}, nil // late, and wrong about it
		}
	}
	return j.answer, j.err
}

// askedRole has an authorizer for whatever its one rule does not decide.
func askedRole() router.RoleConfig {
	c := rules("+publish exact a.ruled", "-publish exact a.denied")
	c.Authorizer = "auth.decide"
	return c
}

func askingPolicy(t *testing.T, j *judge, size int) *router.Policy {
	t.Helper()
	p, err := router.NewPolicy(router.PolicyConfig{Roles: map[string]router.RoleConfig{"asked": askedRole()}, Ask: j.ask, CacheSize: size})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAuthorizerDecidesWhatNoRuleDoes(t *testing.T) {
	t.Parallel()
	j := &judge{answer: router.Answer{Allow: true}}
	p := askingPolicy(t, j, 0)
	ask := func(uri wamp.URI) bool {
		ok, err := p.Authorize(router.Identity{AuthID: "ann", AuthRole: "asked"}, router.ActionPublish, uri, wamp.MatchExact)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	if !ask("a.ruled") || ask("a.denied") || len(j.asked) != 0 {
		t.Errorf("the authorizer was asked what rules decide: %v", j.asked)
	}
	for range 2 {
		if !ask("a.free") {
			t.Error("the authorizer's yes is no")
		}
	}
	j.answer.Allow = false
	if ask("a.free") {
		t.Error("the authorizer's no is yes")
	}
	want := "auth.decide: ann publish exact a.free"
	if got := strings.Join(j.asked, "\n"); got != want+"\n"+want+"\n"+want {
		t.Errorf("asked:\n%s", got)
	}
	if st := p.Stats(); st != (router.PolicyStats{Asked: 3}) {
		t.Errorf("%+v", st)
	}
}

func TestAnswersAreKeptForTheirTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := &judge{answer: router.Answer{Allow: true, Cache: 10 * time.Second, Disclose: router.DiscloseAlways}}
		p := askingPolicy(t, j, 0)
		who := router.Identity{AuthID: "ann", AuthRole: "asked", AuthMethod: "ticket"}
		ask := func(who router.Identity, a router.Action, uri wamp.URI, m wamp.Match, questions int) {
			t.Helper()
			before := len(j.asked)
			d, err := p.Verdict(who, a, uri, m)
			if err != nil || d.Allowed != j.answer.Allow && questions > 0 || len(j.asked)-before != questions {
				t.Errorf("%s %s: %+v, %v, asked %d times", a, uri, d, err, len(j.asked)-before)
			}
			if d.Allowed && d.Disclose != router.DiscloseAlways {
				t.Errorf("disclose is %q", d.Disclose)
			}
		}
		ask(who, "subscribe", "a.x", wamp.MatchPrefix, 1)
		ask(who, "subscribe", "a.x", wamp.MatchPrefix, 0)
		ask(who, "subscribe", "a.x", wamp.MatchExact, 1)
		ask(who, "register", "a.x", wamp.MatchPrefix, 1)
		ask(who, "subscribe", "a.y", wamp.MatchPrefix, 1)
		other := who
		other.AuthID = "bob"
		ask(other, "subscribe", "a.x", wamp.MatchPrefix, 1)
		other = who
		other.AuthMethod = "anonymous"
		ask(other, "subscribe", "a.x", wamp.MatchPrefix, 1)
		other.AuthProvider = "else"
		ask(other, "subscribe", "a.x", wamp.MatchPrefix, 1)
		time.Sleep(10*time.Second - time.Nanosecond)
		ask(who, "subscribe", "a.x", wamp.MatchPrefix, 0)
		time.Sleep(time.Nanosecond)
		j.answer = router.Answer{Cache: 100 * time.Hour}
		ask(who, "subscribe", "a.x", wamp.MatchPrefix, 1) // a no is kept just so
		ask(who, "subscribe", "a.x", wamp.MatchPrefix, 0)
		time.Sleep(router.MaxAnswerAge)
		ask(who, "subscribe", "a.x", wamp.MatchPrefix, 1)
		p.Forget("bob")
		ask(who, "subscribe", "a.x", wamp.MatchPrefix, 0)
		p.Forget("ann")
		ask(who, "subscribe", "a.x", wamp.MatchPrefix, 1)
		p.Forget("")
		if st := p.Stats(); st.Kept != 0 {
			t.Errorf("kept after Forget: %+v", st)
		}
		ask(who, "subscribe", "a.x", wamp.MatchPrefix, 1)
	})
}

func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	j := &judge{answer: router.Answer{Allow: true, Cache: time.Minute}}
	p := askingPolicy(t, j, 3)
	ask := func(uri string) int {
		before := len(j.asked)
		if _, err := p.Verdict(router.Identity{AuthRole: "asked"}, "call", wamp.URI(uri), 0); err != nil {
			t.Fatal(err)
		}
		return len(j.asked) - before
	}
	for _, uri := range []string{"a", "b", "c", "a", "d"} { // b is the one used least recently
		ask(uri)
	}
	if st := p.Stats(); st.Kept != 3 || st.Cached != 1 || st.Asked != 4 {
		t.Errorf("%+v", st)
	}
	if ask("a")+ask("c")+ask("d") != 0 {
		t.Error("an entry in use went before the one used least recently")
	}
	if ask("b") != 1 {
		t.Error("an entry over the bound was kept")
	}
	for i := range 100 {
		ask(fmt.Sprint(i))
	}
	if st := p.Stats(); st.Kept != 3 {
		t.Errorf("%d answers are kept", st.Kept)
	}
}

func TestFailuresDenyAndAreNotKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		who := router.Identity{AuthRole: "asked"}
		for name, j := range map[string]*judge{
			"error":          {err: errAway, answer: router.Answer{Allow: true, Cache: time.Minute}},
			"too late":       {delay: time.Hour, answer: router.Answer{Allow: true, Cache: time.Minute}},
			"just too late":  {delay: 2*time.Second + 1, answer: router.Answer{Allow: true, Cache: time.Minute}},
			"error and late": {delay: 3 * time.Second, err: errAway},
		} {
			p := askingPolicy(t, j, 0)
			for range 2 {
				start := time.Now()
				d, err := p.Verdict(who, "call", "a.b", 0)
				if err == nil || d.Allowed || time.Since(start) > 2*time.Second {
					t.Errorf("%s: %+v, %v after %s", name, d, err, time.Since(start))
				}
				if ok, err := p.Authorize(who, "call", "a.b", 0); ok || err == nil {
					t.Errorf("%s: allowed, %v", name, err)
				}
			}
			if st := p.Stats(); st.Failed != 4 || st.Asked != 4 || st.Kept != 0 {
				t.Errorf("%s: %+v", name, st)
			}
		}
	})
}

// TestQuestionsAtOnce is for the race detector.
func TestQuestionsAtOnce(t *testing.T) {
	t.Parallel()
	p, err := router.NewPolicy(router.PolicyConfig{
		Roles: map[string]router.RoleConfig{"asked": askedRole()}, CacheSize: 4,
		Ask: func(context.Context, router.Question) (router.Answer, error) {
			return router.Answer{Allow: true, Cache: time.Hour}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range 200 {
				ok, err := p.Authorize(router.Identity{AuthRole: "asked"}, "call", wamp.URI("a."+string(rune('a'+(g+i)%9))), 0)
				if !ok || err != nil {
					t.Errorf("%v, %v", ok, err)
				}
				if i%50 == 0 {
					p.Forget("")
				}
			}
		})
	}
	all.Wait()
	if st := p.Stats(); st.Kept > 4 || st.Asked+st.Cached != 1600 {
		t.Errorf("%+v", st)
	}
}
