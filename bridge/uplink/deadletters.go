package uplink

import (
	"context"
	"fmt"

	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/serialize"
)

// listed is how many dead letters are listed, or sent again, at a time.
const listed = 100

// DeadProcedure returns the procedure by which the dead letters are listed (verb
// dead), sent again (resend) or dropped (drop).
func DeadProcedure(gateway, verb string) wamp.URI {
	return wamp.URI("gantry." + gateway + ".sys.queue." + verb)
}

// letter is a question about dead letters.
type letter struct {
	Uplink string `wamp:"uplink"`
	After  uint64 `wamp:"after,optional"`
	UpTo   uint64 `wamp:"up_to,optional"`
}

// ServeDeadLetters registers the procedures for what the far worlds have refused for
// good (docs/uplinks.md).
func ServeDeadLetters(ctx context.Context, local wamp.Session, gateway string, uplinks []*Uplink) error {
	find := func(q letter) (*Uplink, error) {
		for _, u := range uplinks {
			if u.name == q.Uplink {
				return u, nil
			}
		}
		return nil, wamp.NewError(wamp.ErrURIInvalidArgument, "no uplink of that name", wamp.Dict{"uplink": q.Uplink})
	}
	if _, err := client.Register(ctx, local, DeadProcedure(gateway, "dead"), func(ctx context.Context, q letter) (wamp.List, error) {
		u, err := find(q)
		if err != nil {
			return nil, err
		}
		return u.dead(ctx, q.After)
	}); err != nil {
		return err
	}
	for verb, do := range map[string]func(*Uplink, context.Context, uint64) (int64, error){"resend": (*Uplink).resend, "drop": (*Uplink).drop} {
		if _, err := client.Register(ctx, local, DeadProcedure(gateway, verb), func(ctx context.Context, q letter) (int64, error) {
			u, err := find(q)
			if err != nil {
				return 0, err
			}
			n := u.deps.DeadLetters.Counters()
			if q.UpTo == 0 || q.UpTo > n["appended"] {
				return 0, wamp.NewError(wamp.ErrURIOutOfRange, "up_to is the seq of a dead letter", wamp.Dict{"up_to": int64(q.UpTo), "max": int64(n["appended"])})
			}
			return do(u, ctx, q.UpTo)
		}); err != nil {
			return err
		}
	}
	return nil
}

// letters hands the dead letters behind after to each, at most limit.
func (u *Uplink) letters(ctx context.Context, after uint64, limit int, each func(seq uint64, b []byte)) error {
	n := u.deps.DeadLetters.Counters()
	after = max(after, n["acknowledged"])
	for after < n["appended"] && limit > 0 {
		err := u.deps.DeadLetters.Read(ctx, after, limit, func(_, seq uint64, b []byte, lost uint64) {
			after = seq
			limit--
			if lost == 0 {
				each(seq, b)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// dead lists dead letters, the oldest first.
func (u *Uplink) dead(ctx context.Context, after uint64) (wamp.List, error) {
	list := wamp.List{}
	err := u.letters(ctx, after, listed, func(seq uint64, b []byte) {
		r, err := parseRecord(b)
		if err != nil {
			list = append(list, wamp.Dict{"seq": int64(seq), "reason": err.Error()})
			return
		}
		d := wamp.Dict{"seq": int64(seq), "topic": string(r.topic), "reason": r.reason, "tries": int64(r.tries)}
		if args, kwargs, err := serialize.Values(r.payload); err == nil {
			d["args"], d["kwargs"] = args, kwargs
		}
		list = append(list, d)
	})
	return list, err
}

// resend puts the dead letters up to a number back into the queue, as if they had
// never been refused, and returns how many.
func (u *Uplink) resend(ctx context.Context, upTo uint64) (n int64, err error) {
	type back struct {
		seq uint64
		r   record
	}
	for {
		var batch []back
		var last uint64
		err := u.letters(ctx, 0, listed, func(seq uint64, b []byte) {
			if seq > upTo {
				return
			}
			last = seq
			if r, err := parseRecord(b); err == nil {
				r.tries, r.triedAt, r.reason = 0, 0, ""
				batch = append(batch, back{seq, r})
			}
		})
		if err != nil || last == 0 {
			return n, err
		}
		for _, l := range batch {
			if _, err := u.queue(l.r.topic).Enqueue(ctx, l.r.append(nil), true); err != nil {
				return n, fmt.Errorf("dead letter %d: %w", l.seq, err)
			}
			n++
		}
		if err := u.deps.DeadLetters.Ack(ctx, last); err != nil {
			return n, err
		}
	}
}

// drop forgets the dead letters up to a number and returns how many.
func (u *Uplink) drop(ctx context.Context, upTo uint64) (int64, error) {
	n := u.deps.DeadLetters.Counters()
	if upTo <= n["acknowledged"] {
		return 0, nil
	}
	return int64(upTo - n["acknowledged"]), u.deps.DeadLetters.Ack(ctx, upTo)
}
