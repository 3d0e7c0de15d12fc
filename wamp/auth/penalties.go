package auth

import (
	"container/list"
	"net/netip"
	"time"
)

// PenaltyConfig says how wrong proofs are slowed down. The zero value of a field
// is its default.
type PenaltyConfig struct {
	// First is the wait after the first wrong proof; each further one doubles it up
	// to Max. Default 5 s and 10 min.
	First, Max time.Duration
	// Forget is how long after the end of a wait its count is kept. Default twice
	// Max.
	Forget time.Duration
	// Entries bounds each of the three tables: addresses, accounts, and accounts at
	// addresses. Over it the one not used for longest goes. Default 4096.
	Entries int
}

// Penalties is a table of waits that grow with each wrong proof, per remote
// address and per account. It is plain data: callers lock it, and look at it
// before they look at a proof, since that is what costs. One account at one
// address that has logged in before is judged by its own wrong proofs alone, so
// that neither a guesser elsewhere nor a neighbour behind the same address locks
// it out.
type Penalties struct {
	cfg                        PenaltyConfig
	addresses, accounts, pairs table
}

// NewPenalties returns an empty table.
func NewPenalties(cfg PenaltyConfig) *Penalties {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&cfg.First, 5*time.Second)
	set(&cfg.Max, 10*time.Minute)
	set(&cfg.Forget, 2*cfg.Max)
	if cfg.Entries <= 0 {
		cfg.Entries = 4096
	}
	return &Penalties{cfg: cfg, addresses: newTable(cfg.Entries), accounts: newTable(cfg.Entries), pairs: newTable(cfg.Entries)}
}

// Wait returns how long the account at the remote address ("192.0.2.1:4711" or
// any other text) has to wait before its next attempt, 0 if not at all. authid
// may be empty.
func (p *Penalties) Wait(remote, authid string, now time.Time) time.Duration {
	remote = addressOf(remote)
	e := p.pairs.get(pairKey(remote, authid))
	if e != nil {
		return e.wait(now, p.cfg.Max)
	}
	return max(p.addresses.get(remote).wait(now, p.cfg.Max), p.accounts.get(authid).wait(now, p.cfg.Max))
}

// Failed books a wrong proof and returns the wait before the next attempt.
// Attempts made during a wait lengthen it, too.
func (p *Penalties) Failed(remote, authid string, now time.Time) time.Duration {
	remote = addressOf(remote)
	if e := p.pairs.get(pairKey(remote, authid)); e != nil {
		return p.cfg.book(e, now)
	}
	wait := p.cfg.book(p.addresses.add(remote), now)
	if authid != "" {
		wait = max(wait, p.cfg.book(p.accounts.add(authid), now))
	}
	return wait
}

// Succeeded clears the account, and remembers it at this address. The address
// keeps its count: otherwise one good account would pay for guesses at others.
func (p *Penalties) Succeeded(remote, authid string) {
	if authid == "" {
		return
	}
	p.accounts.remove(authid)
	*p.pairs.add(pairKey(addressOf(remote), authid)) = penalty{}
}

// Len returns how many entries the three tables hold.
func (p *Penalties) Len() int { return len(p.addresses.at) + len(p.accounts.at) + len(p.pairs.at) }

func (c *PenaltyConfig) book(e *penalty, now time.Time) time.Duration {
	if e.count > 0 && now.Sub(e.until) > c.Forget {
		e.count = 0
	}
	// 2^62 ns is more than a century, so the shift is stopped well before.
	wait := c.Max
	if e.count < 32 && c.First<<e.count>>e.count == c.First {
		wait = min(c.First<<e.count, c.Max)
	}
	e.count++
	e.until = now.Add(wait)
	return wait
}

// addressOf drops the port, and the half of an IPv6 address that its owner
// chooses.
func addressOf(remote string) string {
	ap, err := netip.ParseAddrPort(remote)
	a := ap.Addr()
	if err != nil {
		if a, err = netip.ParseAddr(remote); err != nil {
			return remote
		}
	}
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return a.String()
	}
	prefix, err := a.Prefix(64)
	if err != nil {
		return remote
	}
	return prefix.String()
}

func pairKey(remote, authid string) string {
	if authid == "" {
		return ""
	}
	return remote + "\x00" + authid
}

// penalty is one entry of a table; the zero penalty is none.
type penalty struct {
	count uint
	until time.Time
}

// wait is never over longest, even if the clock was set back meanwhile.
func (e *penalty) wait(now time.Time, longest time.Duration) time.Duration {
	if e == nil || e.count == 0 {
		return 0
	}
	return min(max(e.until.Sub(now), 0), longest)
}

// table is a map whose entries are bounded in number.
type table struct {
	max   int
	at    map[string]*list.Element
	order *list.List // of *row, the one used last in front
}

type row struct {
	key string
	penalty
}

func newTable(n int) table { return table{max: n, at: map[string]*list.Element{}, order: list.New()} }

// get returns an entry, nil if there is none.
func (t *table) get(key string) *penalty {
	e := t.at[key]
	if e == nil {
		return nil
	}
	t.order.MoveToFront(e)
	return &e.Value.(*row).penalty
}

// add returns the entry, a new one if there was none.
func (t *table) add(key string) *penalty {
	if e := t.get(key); e != nil {
		return e
	}
	if t.order.Len() >= t.max {
		t.remove(t.order.Back().Value.(*row).key)
	}
	r := &row{key: key}
	t.at[key] = t.order.PushFront(r)
	return &r.penalty
}

func (t *table) remove(key string) {
	if e := t.at[key]; e != nil {
		t.order.Remove(e)
		delete(t.at, key)
	}
}
