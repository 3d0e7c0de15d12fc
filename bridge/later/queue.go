package later

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"gantry/wamp"
)

// Limits bound a Queue. Zero fields take the default.
type Limits struct {
	Open   int // jobs that have not ended. Default 500
	Caller int // of those, of one caller. Default 100
	Ended  int // jobs that have ended and are remembered, with their keys. Default 200
	// Anonymous is a role whose callers are one caller; "" = none.
	Anonymous string
}

func (l Limits) withDefaults() Limits {
	return Limits{cmp.Or(l.Open, 500), cmp.Or(l.Caller, 100), cmp.Or(l.Ended, 200), l.Anonymous}
}

// Queue is the state machine of all jobs: no time of its own, no I/O. Its methods
// return what is to change, which Commit makes true once it is on disk.
type Queue struct {
	limits Limits
	jobs   map[string]Job
	last   uint64 // the highest Seq

	busy map[wamp.URI]string      // procedure -> the job that has it
	wait map[string]time.Duration // job -> Moment.Up before which it is not tried again
}

// NewQueue returns a queue that holds jobs, as they were on disk.
func NewQueue(l Limits, jobs []Job) *Queue {
	q := &Queue{limits: l.withDefaults(), jobs: map[string]Job{}, busy: map[wamp.URI]string{}, wait: map[string]time.Duration{}}
	for _, j := range jobs {
		q.jobs[j.ID] = j
		q.last = max(q.last, j.Seq)
	}
	return q
}

// All returns the jobs in the order of queueing.
func (q *Queue) All() []Job {
	return slices.SortedFunc(maps.Values(q.jobs), func(a, b Job) int { return cmp.Compare(a.Seq, b.Seq) })
}

// Get returns a job.
func (q *Queue) Get(id string) (j Job, ok bool) {
	j, ok = q.jobs[id]
	return j, ok
}

// Commit makes changes true and returns the ids of ended jobs that are forgotten for
// them, oldest first.
func (q *Queue) Commit(changes []Job) (forgotten []string) {
	for _, j := range changes {
		q.jobs[j.ID] = j
		q.last = max(q.last, j.Seq)
		if !j.State.open() {
			delete(q.wait, j.ID)
		}
	}
	var ended []Job
	for _, j := range q.jobs {
		if !j.State.open() {
			ended = append(ended, j)
		}
	}
	if len(ended) <= q.limits.Ended {
		return nil
	}
	slices.SortFunc(ended, func(a, b Job) int { return cmp.Or(cmp.Compare(a.Changed, b.Changed), cmp.Compare(a.Seq, b.Seq)) })
	for _, j := range ended[:len(ended)-q.limits.Ended] {
		delete(q.jobs, j.ID)
		forgotten = append(forgotten, j.ID)
	}
	return forgotten
}

// Add returns the changes by which j, whose Seq and State it sets, is queued. A job
// that has the same key and does the same is j: then there are no changes, and its id
// is returned. With replace, a queued one of that key makes room.
func (q *Queue) Add(j Job, replace bool) (id string, changes []Job, err error) {
	if old, found := q.keyed(&j); found {
		same := bytes.Equal(old.Payload, j.Payload)
		switch {
		case replace && old.State == Queued:
			old.State, old.Changed, old.Why = Replaced, j.Created, "by "+j.ID
			changes = append(changes, old)
		case same && old.State != Replaced && old.State != Cancelled:
			return old.ID, nil, nil
		case old.State == Queued:
			return "", nil, wamp.NewError(wamp.ErrURIInvalidArgument, "another job waits under this key; replace = true puts this one in its place",
				wamp.Dict{"why": "key_taken", "key": j.Key, "job": old.ID})
		}
	}
	open, own := -len(changes), -len(changes)
	for _, o := range q.jobs {
		if o.State.open() {
			open++
			if o.AuthRole == j.AuthRole && (o.AuthID == j.AuthID || j.AuthRole == q.limits.Anonymous) {
				own++
			}
		}
	}
	if open >= q.limits.Open || own >= q.limits.Caller {
		return "", nil, wamp.NewError(wamp.ErrURILimit, fmt.Sprintf("too many jobs wait: at most %d, and %d of one caller", q.limits.Open, q.limits.Caller),
			wamp.Dict{"max": int64(q.limits.Open), "max_caller": int64(q.limits.Caller)})
	}
	j.Seq, j.State, j.Changed = q.last+1, Queued, j.Created
	return j.ID, append(changes, j), nil
}

// keyed returns the newest job for the procedure of j under its key.
func (q *Queue) keyed(j *Job) (found Job, ok bool) {
	if j.Key == "" {
		return found, false
	}
	for _, o := range q.jobs {
		if o.Key == j.Key && o.Procedure == j.Procedure && o.Seq > found.Seq {
			found, ok = o, true
		}
	}
	return found, ok
}

// Cancel returns the change that cancels a job which waits.
func (q *Queue) Cancel(id string, at time.Time) (Job, error) {
	j, ok := q.jobs[id]
	switch {
	case !ok:
		return j, wamp.NewError(wamp.ErrURIInvalidArgument, fmt.Sprintf("there is no job %.64q", id), nil)
	case j.State != Queued:
		return j, wamp.NewError(wamp.ErrURIInvalidArgument, "the job is "+string(j.State)+"; only queued ones can be cancelled", wamp.Dict{"state": string(j.State)})
	}
	j.State, j.Changed = Cancelled, at.UnixMicro()
	return j, nil
}

// Wake returns the changes that a start of the program makes: what was under way
// has an outcome that nobody knows.
func (q *Queue) Wake(now Moment) (changes []Job) {
	for _, j := range q.All() {
		if j.State.away() {
			changes = append(changes, q.yield(j.lost(now, "the gateway ended while the procedure was called")))
		}
	}
	return changes
}

// After returns the change when the call of j, which was under way, has ended with err.
func (q *Queue) After(j Job, err error, now Moment) Job { return q.yield(j.after(err, now)) }

// yield returns j as replaced if it would wait again and a newer job, which came while
// it was under way, has its key.
func (q *Queue) yield(j Job) Job {
	if newest, found := q.keyed(&j); found && j.State == Queued && newest.Seq > j.Seq {
		j.State, j.Why = Replaced, "by "+newest.ID
	}
	return j
}

// lost returns j after a call whose outcome is not known.
func (j Job) lost(now Moment, why string) Job {
	j.State, j.Why, j.Changed = Unknown, why, now.Wall.UnixMicro()
	if j.Again {
		j.State = Queued
		j.Tries++
	}
	return j
}

// Date returns the changes for jobs that were queued before the clock was set, now that
// it is: after a start of the machine nobody would know when they expire.
func (q *Queue) Date(now Moment) (changes []Job) {
	for _, j := range q.All() {
		if j.State != Queued {
			continue
		}
		var end, begin bool
		j.Expires, end = now.dated(j.Expires)
		j.NotBefore, begin = now.dated(j.NotBefore)
		if end || begin {
			changes = append(changes, j)
		}
	}
	return changes
}

// Expire returns the changes for jobs whose time is over.
func (q *Queue) Expire(now Moment) (changes []Job) {
	for _, j := range q.All() {
		if j.State != Queued {
			continue
		}
		switch now.expired(j.Expires) {
		case yes:
			j.Why = ""
		case never:
			j.Why = "clock: how long the machine was off is not known"
		default:
			continue
		}
		j.State, j.Changed, j.Error = Expired, now.Wall.UnixMicro(), string(wamp.ErrURIExpired)
		changes = append(changes, j)
	}
	return changes
}

// Due returns the jobs to be tried now and how long it is until there may be more: per
// procedure one, in the order of queueing. Each has its procedure to itself until
// Release. What cannot be judged before the clock is set is left.
func (q *Queue) Due(now Moment) (due []Job, next time.Duration) {
	next = time.Hour
	held := map[wamp.URI]bool{}
	for _, j := range q.All() {
		if j.State != Queued {
			continue
		}
		until, known := now.until(j.Expires)
		if !known {
			next = min(next, time.Second)
			continue
		}
		next = min(next, until)
		if from, known := now.until(j.NotBefore); j.NotBefore != (Instant{}) && (now.passed(j.NotBefore) != yes || !known) {
			if !known || from == 0 {
				from = time.Second
			}
			next = min(next, from)
			continue
		}
		if held[j.Procedure] || q.busy[j.Procedure] != "" {
			continue
		}
		held[j.Procedure] = true
		if wait := q.wait[j.ID] - now.Up; wait > 0 {
			next = min(next, wait)
			continue
		}
		q.busy[j.Procedure] = j.ID
		due = append(due, j)
	}
	return due, next
}

// Release ends what Due has begun.
func (q *Queue) Release(j Job) { delete(q.busy, j.Procedure) }

// Start returns the change that marks a job as sent. ok is false when it must not
// be called any more.
func (q *Queue) Start(id string, now Moment) (j Job, ok bool) {
	j, ok = q.jobs[id]
	if !ok || j.State != Queued || now.expired(j.Expires) != no {
		return j, false
	}
	j.State, j.Changed, j.Error, j.Why = Sent, now.Wall.UnixMicro(), "", ""
	return j, true
}

// Progress returns the change when a job has reported progress for the first time.
func (q *Queue) Progress(id string, now Moment) (j Job, ok bool) {
	j, ok = q.jobs[id]
	if !ok || j.State != Sent {
		return j, false
	}
	j.State, j.Changed = Running, now.Wall.UnixMicro()
	return j, true
}

// Defer has a job wait before it is tried again: 1 s, and twice as long each time, up
// to a minute.
func (q *Queue) Defer(j Job, now Moment) {
	q.wait[j.ID] = now.Up + min(time.Second<<min(j.Tries, 6), time.Minute)
}

// Poke has the jobs tried at once for which is returns true.
func (q *Queue) Poke(is func(procedure wamp.URI) bool) {
	for id := range q.wait {
		if is(q.jobs[id].Procedure) {
			delete(q.wait, id)
		}
	}
}
