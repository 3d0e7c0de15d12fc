package router

import "time"

// pace holds a session to a rate of messages, by reading the next one late
// (generic cell rate algorithm). A session may be a second ahead of its rate. Not
// for concurrent use.
type pace struct {
	step time.Duration // between messages; 0 = no limit
	due  time.Time     // when what has come so far would be over at the rate
}

func paceOf(rate int) pace {
	if rate <= 0 {
		return pace{}
	}
	return pace{step: max(time.Second/time.Duration(rate), 1)}
}

// next counts a message and returns how long to wait before the one that
// follows.
func (p *pace) next(now time.Time) time.Duration {
	if p.due.Before(now) {
		p.due = now
	}
	p.due = p.due.Add(p.step)
	return p.due.Sub(now) - time.Second
}
