package uplink

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

const (
	// backlogTick is how often the backlog is looked at, and told if it has changed.
	backlogTick = 10 * time.Second
	// backlogMarks bounds how finely the age of a long one is known.
	backlogMarks = 512
)

// backlog knows how much waits in the queue, and since when.
type backlog struct {
	mu    sync.Mutex
	marks []mark // how far the queue was when; the last one is the newest
}

// look notes that the queue has got to appended and the far side to acknowledged, and
// returns how long the oldest of the records between has waited, to a tick. known is
// false when it has come before the first look.
func (b *backlog) look(appended, acknowledged uint64, now time.Time) (age time.Duration, known bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.marks) == 0 || b.marks[len(b.marks)-1].seq < appended {
		b.marks = append(b.marks, mark{appended, now})
	}
	// The mark before the oldest record stays: it says that there is no older one.
	i, _ := slices.BinarySearchFunc(b.marks, acknowledged, func(m mark, seq uint64) int {
		if m.seq <= seq {
			return -1
		}
		return 1
	})
	b.marks = slices.Delete(b.marks, 0, max(i-1, 0))
	if len(b.marks) > backlogMarks {
		// Every other one of the newer half.
		half := b.marks[backlogMarks/2:]
		for k := range len(half) / 2 {
			half[k] = half[2*k+1]
		}
		b.marks = b.marks[:backlogMarks/2+len(half)/2]
	}
	switch {
	case appended <= acknowledged:
		return 0, true
	case b.marks[0].seq > acknowledged:
		return 0, false
	case len(b.marks) == 1:
		return 0, true
	}
	return now.Sub(b.marks[1].at), true
}

// TellsQueue reports whether topic tells of an uplink's queue,
// gantry.<gateway>.state.uplink_<name>.queue (docs/topics.md, section 9). Such events are
// news and never wait in a queue themselves.
func TellsQueue(topic wamp.URI) bool {
	p := strings.Split(string(topic), ".")
	return len(p) == 5 && p[2] == "state" && strings.HasPrefix(p[3], "uplink_") && p[4] == "queue"
}

// backlogNow returns what there is to tell of the queue.
func (u *Uplink) backlogNow() (depth int64, kwargs wamp.Dict) {
	c := events(u.deps.Queue)
	depth = int64(c["appended"] - c["acknowledged"])
	if u.deps.Urgent != nil {
		more := events(u.deps.Urgent)
		depth += int64(more["appended"] - more["acknowledged"])
	}
	kwargs = wamp.Dict{"live": true}
	if age, known := u.backlog.look(c["appended"], c["acknowledged"], time.Now()); known {
		kwargs["age_ms"] = age.Milliseconds()
	}
	return depth, kwargs
}

// OldestAge returns how long the oldest event that waits has done so, to 10 s; 0 when none
// waits. known is false when it has waited since before the start.
func (u *Uplink) OldestAge() (age time.Duration, known bool) {
	c := events(u.deps.Queue)
	return u.backlog.look(c["appended"], c["acknowledged"], time.Now())
}

// tellBacklog tells how much waits, at once and after each change, until ctx ends or
// tell reports false.
func (u *Uplink) tellBacklog(ctx context.Context, tell func(wamp.Payload) bool) {
	tick := time.NewTicker(backlogTick)
	defer tick.Stop()
	for told := int64(-1); ; {
		if depth, kwargs := u.backlogNow(); depth != told || depth > 0 {
			kwargs["ts"] = u.deps.Now().UnixMicro()
			if !tell(wamp.Values(wamp.List{depth}, kwargs)) {
				return
			}
			told = depth
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// announceBacklog tells the local realm.
func (u *Uplink) announceBacklog(ctx context.Context) {
	u.tellBacklog(ctx, func(p wamp.Payload) bool {
		if err := u.deps.Local.Publish(ctx, u.topic("state", "queue"), wamp.PublishOptions{Retain: true}, p); err != nil && ctx.Err() == nil {
			u.complain("the state of the queue was not published", "error", err)
		}
		return true
	})
}

// sendBacklog tells the far world past the queue. It gives the connection up when that
// fails.
func (u *Uplink) sendBacklog(ctx context.Context, c Conn, end context.CancelCauseFunc) {
	topic := u.topic("state", "queue")
	if !slices.Contains(u.cfg.Forward, "state") || !u.filter.wanted(topic) {
		return
	}
	u.tellBacklog(ctx, func(p wamp.Payload) bool {
		p, err := serialize.Encode(wamp.CBOR, p)
		if err == nil {
			err = c.Send(ctx, []Event{{Topic: topic, Live: true, Retain: true, Payload: p}}, func(int, error) {})
		}
		if err != nil {
			end(err)
		}
		return err == nil
	})
}
