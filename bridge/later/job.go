package later

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

// State is where a job is.
type State string

// The states of a job.
const (
	Queued    State = "queued"    // waits for its time and for its target
	Sent      State = "sent"      // the procedure has been called
	Running   State = "running"   // it has reported progress
	Done      State = "done"      // it has answered
	Failed    State = "failed"    // it has refused, or its caller may not call it any more
	Unknown   State = "unknown"   // it was called, and what came of it is not known
	Expired   State = "expired"   // not called: too late
	Replaced  State = "replaced"  // not called: a newer job has its key
	Cancelled State = "cancelled" // not called: somebody did not wish it any more
)

// open reports whether the job may still change.
func (s State) open() bool { return s == Queued || s.away() }

// away reports whether the procedure has been called and has not answered.
func (s State) away() bool { return s == Sent || s == Running }

func (s State) valid() bool {
	switch s {
	case Queued, Sent, Running, Done, Failed, Unknown, Expired, Replaced, Cancelled:
		return true
	}
	return false
}

// Job is one queued command. It is a value: whoever changes one has a copy.
type Job struct {
	ID  string // 1 to 64 of a-z 0-9
	Seq uint64 // its place in the order of queueing, from 1
	// Procedure is what is called: gantry.<gw>.set.<dev>.<point> or
	// gantry.<gw>.do.<dev>.<action>.
	Procedure wamp.URI
	Payload   []byte // the arguments: CBOR of [args, kwargs]
	Key       string // what the caller knows the job by; may be empty
	// AuthID and AuthRole say who has queued it.
	AuthID, AuthRole string
	NotBefore        Instant // the zero value is at once
	Expires          Instant
	Again            bool  // may be called again where the outcome is not known
	State            State // where it is
	Created, Changed int64 // microseconds UTC, by the wall clock as it was
	Tries            int64 // calls that found nobody, or somebody busy
	Error, Why       string
}

// record is the form of a job on disk: a dictionary in CBOR.
func (j *Job) record() ([]byte, error) {
	return serialize.AppendValue(nil, wamp.CBOR, wamp.Dict{
		"v": int64(1), "id": j.ID, "n": int64(j.Seq), "uri": string(j.Procedure), "p": j.Payload, "key": j.Key,
		"by": j.AuthID, "role": j.AuthRole, "again": j.Again, "state": string(j.State),
		"from": j.NotBefore.list(), "to": j.Expires.list(), "created": j.Created, "changed": j.Changed,
		"tries": j.Tries, "error": j.Error, "why": j.Why,
	})
}

func (i Instant) list() wamp.List { return wamp.List{i.Wall, i.Boot, int64(i.Up)} }

// errRecord is a record that no version of this program has written.
var errRecord = errors.New("not the record of a job")

// readJob reads a record. It never panics, whatever b is.
func readJob(b []byte) (Job, error) {
	v, err := serialize.ParseValue(wamp.CBOR, b, serialize.Limits{})
	if err != nil {
		return Job{}, fmt.Errorf("%w: %w", errRecord, err)
	}
	d, ok := v.(wamp.Dict)
	r := reader{d: d, ok: ok}
	j := Job{
		ID: r.text("id"), Seq: uint64(max(r.int("n"), 0)), Procedure: wamp.URI(r.text("uri")), Key: r.text("key"),
		AuthID: r.text("by"), AuthRole: r.text("role"), State: State(r.text("state")),
		NotBefore: r.instant("from"), Expires: r.instant("to"), Created: r.int("created"), Changed: r.int("changed"),
		Tries: r.int("tries"), Error: r.text("error"), Why: r.text("why"),
	}
	j.Again = r.bool("again")
	j.Payload, ok = d["p"].([]byte)
	if _, _, good := targetOf(j.Procedure); !r.ok || !ok || !good || r.int("v") != 1 || j.ID == "" || j.Seq == 0 || !j.State.valid() {
		return Job{}, errRecord
	}
	return j, nil
}

// reader reads fields of a dictionary; ok turns false at the first one that is not
// as it should be.
type reader struct {
	d  wamp.Dict
	ok bool
}

func field[T any](r *reader, v any) T {
	t, ok := v.(T)
	r.ok = r.ok && ok
	return t
}

func (r *reader) text(k string) string { return field[string](r, r.d[k]) }
func (r *reader) int(k string) int64   { return field[int64](r, r.d[k]) }
func (r *reader) bool(k string) bool   { return field[bool](r, r.d[k]) }

func (r *reader) instant(k string) Instant {
	l := field[wamp.List](r, r.d[k])
	if len(l) != 3 {
		r.ok = false
		return Instant{}
	}
	return Instant{Wall: field[int64](r, l[0]), Boot: field[string](r, l[1]), Up: time.Duration(field[int64](r, l[2]))}
}

// pack returns arguments as a job keeps them.
func pack(args wamp.List, kwargs wamp.Dict) ([]byte, error) {
	if kwargs == nil {
		kwargs = wamp.Dict{}
	}
	return serialize.AppendValue(nil, wamp.CBOR, wamp.List{args, kwargs})
}

// unpack is the way back.
func unpack(b []byte) (args wamp.List, kwargs wamp.Dict, err error) {
	v, err := serialize.ParseValue(wamp.CBOR, b, serialize.Limits{})
	if err != nil {
		return nil, nil, fmt.Errorf("%w: arguments: %w", errRecord, err)
	}
	l, _ := v.(wamp.List)
	if len(l) != 2 {
		return nil, nil, errRecord
	}
	args, ok := l[0].(wamp.List)
	kwargs, okw := l[1].(wamp.Dict)
	if !ok || !okw {
		return nil, nil, errRecord
	}
	return args, kwargs, nil
}

// targetOf takes a procedure that jobs may call apart.
func targetOf(procedure wamp.URI) (gateway, device string, ok bool) {
	p := strings.Split(string(procedure), ".")
	if len(p) != 5 || p[0] != "gantry" || p[2] != "set" && p[2] != "do" {
		return "", "", false
	}
	return p[1], p[3], true
}

// show returns the job as procedures and events tell it.
func (j *Job) show() wamp.Dict {
	d := wamp.Dict{
		"job": j.ID, "procedure": string(j.Procedure), "state": string(j.State), "created": j.Created, "changed": j.Changed,
		"authid": j.AuthID, "authrole": j.AuthRole, "tries": j.Tries,
	}
	for k, v := range map[string]string{"key": j.Key, "error": j.Error, "why": j.Why} {
		if v != "" {
			d[k] = v
		}
	}
	for k, v := range map[string]int64{"expires": j.Expires.Wall, "not_before": j.NotBefore.Wall} {
		if v != 0 {
			d[k] = v
		}
	}
	return d
}
