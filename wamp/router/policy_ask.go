package router

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gantry/wamp"
)

// Question is what a DynamicAuthorizer is asked: may Who do Action on URI, read
// with Match? The strings are lent for the time of the call.
type Question struct {
	// Procedure is the authorizer of Who's role.
	Procedure wamp.URI
	Who       Identity
	Action    Action
	URI       wamp.URI
	Match     wamp.Match
}

// Answer is what an authorizer says.
type Answer struct {
	Allow bool
	// Disclose overrides what the role says. DiscloseDefault does not.
	Disclose Disclosure
	// Cache is how long the same question need not be asked again, at most
	// MaxAnswerAge. 0 = not at all.
	Cache time.Duration
}

// MaxAnswerAge is the longest time for which an authorizer's answer is kept.
const MaxAnswerAge = time.Hour

// DynamicAuthorizer asks the procedure that decides for a role. It is called in
// the goroutine of the session that waits for the decision, with no lock held,
// and must return when ctx ends. An error denies.
type DynamicAuthorizer func(ctx context.Context, q Question) (Answer, error)

// errNoAnswer tells of an authorizer that was too late.
var errNoAnswer = errors.New("no answer in time")

// Verdict is Decide that asks the role's authorizer where no rule decides. It
// blocks for as long as that takes, within the role's timeout. With an error
// nothing is allowed.
func (p *Policy) Verdict(who Identity, a Action, uri wamp.URI, m wamp.Match) (Decision, error) {
	d := p.Decide(who, a, uri, m)
	if d.Reason != ReasonAuthorizer {
		return d, nil
	}
	q := Question{Procedure: d.Authorizer, Who: who, Action: a, URI: uri, Match: m}
	answer, ok := p.cache.get(&q)
	if !ok {
		p.cache.asked.Add(1)
		var err error
		if answer, err = p.consult(q, p.roles[who.AuthRole].timeout); err != nil {
			p.cache.failed.Add(1)
			return d, fmt.Errorf("authorizer %s: %w", q.Procedure, err)
		}
		p.cache.put(&q, answer)
	}
	d.Allowed = answer.Allow
	if answer.Disclose != DiscloseDefault {
		d.Disclose = answer.Disclose
	}
	return d, nil
}

func (p *Policy) consult(q Question, timeout time.Duration) (Answer, error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), timeout, errNoAnswer)
	defer cancel()
	answer, err := p.ask(ctx, q)
	if ctx.Err() != nil {
		return Answer{}, context.Cause(ctx) // an answer that is late does not count
	}
	return answer, err
}

// Authorize is Verdict as an Authorizer.
func (p *Policy) Authorize(who Identity, a Action, uri wamp.URI, m wamp.Match) (bool, error) {
	d, err := p.Verdict(who, a, uri, m)
	return d.Allowed, err
}

// Forget drops what is kept of authorizers' answers: for authid, or for everybody
// when it is "".
func (p *Policy) Forget(authid string) { p.cache.forget(authid) }

// PolicyStats count what became of questions to authorizers.
type PolicyStats struct {
	Asked  uint64 // questions put to a procedure
	Failed uint64 // of those, without a usable answer
	Cached uint64 // questions answered from the cache
	Kept   int    // answers in the cache now
}

// Stats returns the counters since start.
func (p *Policy) Stats() PolicyStats {
	c := p.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	return PolicyStats{Asked: c.asked.Load(), Failed: c.failed.Load(), Cached: c.hits.Load(), Kept: len(c.entries)}
}

// answers is a cache of bounded size. The entry used least recently goes first.
type answers struct {
	max                 int
	now                 func() time.Time
	asked, failed, hits atomic.Uint64

	mu      sync.Mutex                  // guards what follows
	entries map[answerKey]*list.Element // of *kept
	recent  list.List                   // most recent first
}

// answerKey is everything that an authorizer may have decided by, the trust level
// apart, which is a property of the transport and role.
type answerKey struct {
	procedure, uri                             wamp.URI
	authid, authrole, authmethod, authprovider string
	action                                     Action
	match                                      wamp.Match
}

type kept struct {
	key    answerKey
	answer Answer
	until  time.Time
}

func newAnswers(limit int, now func() time.Time) *answers {
	return &answers{max: limit, now: now, entries: map[answerKey]*list.Element{}}
}

func keyFor(q *Question) answerKey {
	return answerKey{
		procedure: q.Procedure, uri: q.URI, action: q.Action, match: q.Match,
		authid: q.Who.AuthID, authrole: q.Who.AuthRole, authmethod: q.Who.AuthMethod, authprovider: q.Who.AuthProvider,
	}
}

func (c *answers) get(q *Question) (Answer, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[keyFor(q)]
	if e == nil {
		return Answer{}, false
	}
	k := e.Value.(*kept)
	if !c.now().Before(k.until) {
		c.remove(e)
		return Answer{}, false
	}
	c.recent.MoveToFront(e)
	c.hits.Add(1)
	return k.answer, true
}

func (c *answers) put(q *Question, a Answer) {
	if a.Cache <= 0 {
		return
	}
	key := keyFor(q)
	key.uri = wamp.URI(strings.Clone(string(key.uri)))
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[key]; e != nil {
		c.remove(e) // a session of the same identity has asked meanwhile
	}
	if len(c.entries) >= c.max {
		c.remove(c.recent.Back())
	}
	k := &kept{key: key, answer: a, until: c.now().Add(min(a.Cache, MaxAnswerAge))}
	c.entries[key] = c.recent.PushFront(k)
}

func (c *answers) remove(e *list.Element) {
	delete(c.entries, e.Value.(*kept).key)
	c.recent.Remove(e)
}

func (c *answers) forget(authid string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for e := c.recent.Front(); e != nil; {
		next := e.Next()
		if authid == "" || e.Value.(*kept).key.authid == authid {
			c.remove(e)
		}
		e = next
	}
}
