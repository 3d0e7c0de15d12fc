package later

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"gantry/wamp"
)

const target = wamp.URI("gantry.far.set.lamp.on")

func at(up time.Duration, synced bool, boot string) Moment {
	return Moment{Wall: time.UnixMicro(1_790_000_000_000_000).Add(up), Synced: synced, Boot: boot, Up: up}
}

func aJob(id string, now Moment, ttl time.Duration) Job {
	return Job{ID: id, Procedure: target, Payload: []byte(id), AuthID: "ann", AuthRole: "op", Expires: now.In(ttl), Created: now.Wall.UnixMicro()}
}

// added queues a job or fails.
func added(t *testing.T, q *Queue, j Job) {
	t.Helper()
	_, changes, err := q.Add(j, false)
	if err != nil {
		t.Fatal(err)
	}
	q.Commit(changes)
}

func TestExpiryByTheClockThatIsKnown(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name          string
		queued, later Moment
		want          answer
	}{
		{"in time", at(0, true, "a"), at(59*time.Minute, true, "a"), no},
		{"too late", at(0, true, "a"), at(time.Hour, true, "a"), yes},
		{"too late by the clock that does not jump", at(0, false, "a"), at(time.Hour, false, "a"), yes},
		{"anew, clock set, in time", at(0, true, "a"), at(59*time.Minute, true, "b"), no},
		{"anew, clock set, too late", at(0, true, "a"), at(61*time.Minute, true, "b"), yes},
		{"anew, clock not set", at(0, true, "a"), at(time.Minute, false, "b"), unknown},
		{"anew, never a clock", at(0, false, "a"), at(time.Minute, true, "b"), never},
		{"clock goes 50 years forward, not trusted", at(0, true, "a"), Moment{time.UnixMicro(3_400_000_000_000_000), false, "a", time.Minute}, no},
		{"clock goes 50 years forward, trusted", at(0, true, "a"), Moment{time.UnixMicro(3_400_000_000_000_000), true, "a", time.Minute}, no},
		{"clock goes 1 h forward, trusted", at(0, true, "a"), Moment{time.UnixMicro(1_790_000_000_000_000).Add(61 * time.Minute), true, "a", time.Minute}, no},
		{"a correction brings it forward", at(0, true, "a"), Moment{time.UnixMicro(1_790_000_000_000_000).Add(time.Hour), true, "a", 59 * time.Minute}, yes},
		{"a correction does not put it off", at(0, true, "a"), Moment{time.UnixMicro(1_790_000_000_000_000).Add(59 * time.Minute), true, "a", time.Hour}, yes},
		{"clock goes 50 years back", at(0, true, "a"), Moment{time.UnixMicro(0), true, "a", time.Hour}, yes},
	} {
		if got := c.later.expired(c.queued.In(time.Hour)); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// TestWhatIsUnderWayAtAStart is never called again unless its caller allows it.
func TestWhatIsUnderWayAtAStart(t *testing.T) {
	t.Parallel()
	now := at(0, true, "a")
	for _, state := range []State{Queued, Sent, Running, Done, Failed, Unknown, Expired, Replaced, Cancelled} {
		for _, again := range []bool{false, true} {
			j := aJob("j", now, time.Hour)
			j.Seq, j.State, j.Again = 1, state, again
			q := NewQueue(Limits{}, []Job{j})
			q.Commit(q.Wake(now))
			got, _ := q.Get("j")
			want := state
			if state.away() && again {
				want = Queued
			} else if state.away() {
				want = Unknown
			}
			due, _ := q.Due(now)
			if got.State != want || (len(due) == 1) != (want == Queued) {
				t.Errorf("%s, again %v: %s, %d due", state, again, got.State, len(due))
			}
		}
	}
}

func TestJobsOfAProcedureKeepTheirOrder(t *testing.T) {
	t.Parallel()
	now := at(0, true, "a")
	q := NewQueue(Limits{}, nil)
	for i := range 3 {
		added(t, q, aJob(fmt.Sprint(i), now, time.Hour))
	}
	other := aJob("x", now, time.Hour)
	other.Procedure = "gantry.far.set.lamp.dim"
	added(t, q, other)
	due, _ := q.Due(now)
	if len(due) != 2 || due[0].ID != "0" || due[1].ID != "x" {
		t.Fatalf("due: %+v", due)
	}
	if more, _ := q.Due(now); len(more) != 0 {
		t.Fatalf("due beside them: %+v", more)
	}
	// It finds nobody: those behind it wait as well.
	q.Defer(due[0], now)
	q.Release(due[0])
	if more, next := q.Due(now); len(more) != 0 || next != time.Second {
		t.Fatalf("overtaken: %+v, %s", more, next)
	}
	q.Poke(func(p wamp.URI) bool { return p == target })
	if more, _ := q.Due(now); len(more) != 1 || more[0].ID != "0" {
		t.Fatalf("after its target is back: %+v", more)
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	now := at(0, true, "a")
	keyed := func(id, payload string) Job {
		j := aJob(id, now, time.Hour)
		j.Key, j.Payload = "k", []byte(payload)
		return j
	}
	q := NewQueue(Limits{}, nil)
	added(t, q, keyed("1", "on"))
	if id, changes, err := q.Add(keyed("2", "on"), false); id != "1" || len(changes) != 0 || err != nil {
		t.Errorf("the same again: %s, %v, %v", id, changes, err)
	}
	if _, _, err := q.Add(keyed("2", "off"), false); !wamp.IsError(err, wamp.ErrURIInvalidArgument) {
		t.Errorf("another value: %v", err)
	}
	_, changes, err := q.Add(keyed("2", "off"), true)
	if err != nil || len(changes) != 2 || changes[0].State != Replaced || changes[1].State != Queued {
		t.Fatalf("replace: %+v, %v", changes, err)
	}
	q.Commit(changes)
	sent, _ := q.Start("2", now)
	q.Commit([]Job{sent})
	if id, changes, err := q.Add(keyed("3", "off"), true); id != "2" || len(changes) != 0 || err != nil {
		t.Errorf("the same while it is called: %s, %v, %v", id, changes, err)
	}
}

// TestANewerJobReplacesOneUnderWay has a job replaced while it is called: if it has not
// been done, it makes room for the newer one in place of being called before it.
func TestANewerJobReplacesOneUnderWay(t *testing.T) {
	t.Parallel()
	now := at(0, true, "a")
	offline := wamp.NewError(wamp.ErrURIOffline, "", wamp.Dict{"since": int64(1)})
	for name, end := range map[string]func(*Queue, Job) Job{
		"offline": func(q *Queue, j Job) Job { return q.After(j, offline, now) },
		"killed":  func(q *Queue, _ Job) Job { return q.Wake(now)[0] },
	} {
		q := NewQueue(Limits{}, nil)
		old := aJob("1", now, time.Hour)
		old.Key, old.Payload, old.Again = "k", []byte("on"), true
		added(t, q, old)
		sent, _ := q.Start("1", now)
		q.Commit([]Job{sent})
		if j := end(q, sent); j.State != Queued {
			t.Errorf("%s: %s without a newer job", name, j.State)
		}
		newer := aJob("2", now, time.Hour)
		newer.Key, newer.Payload = "k", []byte("off")
		_, changes, err := q.Add(newer, true)
		if err != nil || len(changes) != 1 {
			t.Fatalf("%s: %v, %v", name, changes, err)
		}
		q.Commit(changes)
		if j := end(q, sent); j.State != Replaced || j.Why != "by 2" {
			t.Errorf("%s: %s, %s", name, j.State, j.Why)
		}
		if j := q.After(sent, nil, now); j.State != Done {
			t.Errorf("%s: %s after it has been done", name, j.State)
		}
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	now := at(0, true, "a")
	q := NewQueue(Limits{Open: 3, Caller: 2, Ended: 2}, nil)
	for i, want := range []bool{true, true, false, true, false} {
		j := aJob(fmt.Sprint(i), now, time.Hour)
		if i > 2 {
			j.AuthID = fmt.Sprint("bob", i)
		}
		_, changes, err := q.Add(j, false)
		if (err == nil) != want || err != nil && !wamp.IsError(err, wamp.ErrURILimit) {
			t.Errorf("job %d: %v", i, err)
		}
		q.Commit(changes)
	}
	gone := q.Commit(q.Expire(at(2*time.Hour, true, "a")))
	if len(gone) != 1 || gone[0] != "0" || len(q.All()) != 2 {
		t.Errorf("forgotten %v, left %d", gone, len(q.All()))
	}
}

// TestNothingIsCalledTwiceOrTooLate drives a queue at random and lets the program die
// at random: it never starts a job that has expired, or a second time.
func TestNothingIsCalledTwiceOrTooLate(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		q, up, boot := NewQueue(Limits{}, nil), time.Duration(0), 0
		started := map[string]bool{}
		end := map[string]int64{}
		var under []Job
		for n := range 300 {
			up += time.Duration(r.IntN(30)) * time.Second
			now := at(up, r.IntN(4) > 0, fmt.Sprint(boot))
			switch r.IntN(6) {
			case 0:
				j := aJob(fmt.Sprint("j", n), now, time.Duration(1+r.IntN(600))*time.Second)
				end[j.ID] = now.Wall.Add(j.Expires.Up - now.Up).UnixMicro()
				added(t, q, j)
			case 1:
				if len(under) > 0 {
					j := under[0]
					under = under[1:]
					q.Release(j)
					cur, _ := q.Get(j.ID)
					var err error
					if r.IntN(3) == 0 {
						err = wamp.NewError(wamp.ErrURIOutOfRange, "", nil)
					}
					q.Commit([]Job{cur.after(err, now)})
				}
			case 2:
				if r.IntN(5) == 0 { // the program, or the machine, starts anew
					boot += r.IntN(2)
					q, under = NewQueue(Limits{}, q.All()), nil
					q.Commit(q.Wake(now))
				}
			}
			now.Boot = fmt.Sprint(boot)
			q.Commit(q.Expire(now))
			due, _ := q.Due(now)
			for _, j := range due {
				sent, ok := q.Start(j.ID, now)
				if !ok {
					t.Fatalf("seed %d: due and not to be started: %+v", seed, j)
				}
				if started[j.ID] || now.Wall.UnixMicro() >= end[j.ID] {
					t.Fatalf("seed %d: twice or too late: %+v", seed, j)
				}
				started[j.ID] = true
				q.Commit([]Job{sent})
				under = append(under, sent)
			}
		}
	}
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	now := at(0, true, "a")
	for _, c := range []struct {
		name string
		err  error
		want State
	}{
		{"an answer", nil, Done},
		{"nobody there", wamp.NewError(wamp.ErrURINoSuchProcedure, "", nil), Queued},
		{"device away", wamp.NewError(wamp.ErrURIOffline, "", wamp.Dict{"since": int64(1)}), Queued},
		{"lost on the way", wamp.NewError(wamp.ErrURIOffline, "", nil), Unknown},
		{"no answer of the device", wamp.NewError(wamp.ErrURIDevTimeout, "", nil), Unknown},
		{"the callee has gone", wamp.NewError(wamp.ErrURICanceled, "", nil), Unknown},
		{"the session has ended", wamp.ErrClosed, Unknown},
		{"out of range", wamp.NewError(wamp.ErrURIOutOfRange, "", nil), Failed},
		{"too late", wamp.NewError(wamp.ErrURIExpired, "", nil), Expired},
	} {
		j := aJob("j", now, time.Hour)
		j.State = Sent
		if got := j.after(c.err, now).State; got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func FuzzReadJob(f *testing.F) {
	j := aJob("j", at(0, true, "a"), time.Hour)
	j.Seq, j.State = 1, Queued
	b, err := j.record()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{0xa1, 0x61, 'v', 0x01})
	f.Fuzz(func(t *testing.T, b []byte) {
		j, err := readJob(b)
		if err != nil {
			return
		}
		again, err := j.record()
		if err != nil {
			t.Fatal(err)
		}
		if k, err := readJob(again); err != nil || k.ID != j.ID || k.State != j.State || k.Expires != j.Expires || k.Seq != j.Seq {
			t.Fatalf("%+v becomes %+v, %v", j, k, err)
		}
	})
}

// TestDate has jobs that were queued before the clock was set outlast a start of the
// machine, as it is set now.
func TestDate(t *testing.T) {
	t.Parallel()
	q := NewQueue(Limits{}, nil)
	early := Moment{Wall: time.UnixMicro(60_000_000), Boot: "a", Up: time.Minute}
	j := aJob("a", early, time.Hour)
	j.NotBefore = early.In(time.Minute)
	added(t, q, j)
	added(t, q, aJob("b", early, 2*time.Hour))
	if changes := q.Date(early); changes != nil {
		t.Fatalf("without a clock: %+v", changes)
	}
	now := at(10*time.Minute, true, "a")
	changes := q.Date(now)
	if len(changes) != 2 {
		t.Fatalf("%+v", changes)
	}
	q.Commit(changes)
	if changes := q.Date(now); changes != nil {
		t.Fatalf("again: %+v", changes)
	}
	a, _ := q.Get("a")
	b, _ := q.Get("b")
	if a.Expires.Wall != now.Wall.Add(51*time.Minute).UnixMicro() || a.NotBefore.Wall != now.Wall.Add(-8*time.Minute).UnixMicro() ||
		b.NotBefore != (Instant{}) || a.Expires.Up != 61*time.Minute {
		t.Errorf("%+v, %+v", a, b)
	}
	anew := NewQueue(Limits{}, q.All())
	late := Moment{Wall: now.Wall.Add(52 * time.Minute), Synced: true, Boot: "b"}
	if expired := anew.Expire(late); len(expired) != 1 || expired[0].ID != "a" || expired[0].Why != "" {
		t.Errorf("expired after a start of the machine: %+v", expired)
	}
}
