package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"sync/atomic"

	"gantry/internal/config"
	"gantry/store"
	"gantry/wamp"
	"gantry/wamp/router"
)

var _ router.Log = (*historyLog)(nil)

// historyLog is an event history in an outbox that nobody acknowledges: its bounds
// alone make it forget.
type historyLog struct {
	cfg config.History
	box atomic.Pointer[store.Outbox] // nil until the store is open
}

var errNoHistory = errors.New("the store is not open")

// Append adds a record without waiting for the disk.
func (l *historyLog) Append(record []byte) error {
	box := l.box.Load()
	if box == nil {
		return errNoHistory
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // whoever publishes must not wait for the disk
	_, err := box.Enqueue(ctx, record, l.cfg.Confirmed())
	return err
}

// holds reports whether events on topic are in it.
func (l *historyLog) holds(topic wamp.URI) bool {
	// The configuration has checked the policy.
	match, _ := wamp.ParseMatch(l.cfg.Match)
	return wamp.URI(l.cfg.Topic).Matches(match, topic)
}

// Last returns the number of the newest record.
func (l *historyLog) Last() uint64 {
	box := l.box.Load()
	if box == nil {
		return 0
	}
	return box.Status().Appended
}

// committed returns the number up to which records are on disk or dropped.
func (l *historyLog) committed() uint64 {
	box := l.box.Load()
	if box == nil {
		return 0
	}
	return box.Committed()
}

// flush returns once what has been appended is on disk.
func (l *historyLog) flush(ctx context.Context) error {
	box := l.box.Load()
	if box == nil {
		return nil
	}
	return box.Flush(ctx)
}

// Read hands out records.
func (l *historyLog) Read(ctx context.Context, after uint64, limit int, each func(seq uint64, record []byte)) (uint64, error) {
	box := l.box.Load()
	if box == nil {
		return after, errNoHistory
	}
	if after >= box.Status().Appended {
		return after, nil // Read would wait for more
	}
	at := after
	err := box.Read(ctx, after, limit, func(_, seq uint64, record []byte, lost uint64) {
		at = seq
		if lost == 0 {
			each(seq, record)
		}
	})
	return at, err
}

// historyRules returns the rules of the configuration with their logs.
func historyRules(list []config.History) (rules []router.HistoryRule, logs []*historyLog) {
	for _, h := range list {
		// The configuration has checked the policy.
		match, _ := wamp.ParseMatch(h.Match)
		log := &historyLog{cfg: h}
		logs = append(logs, log)
		rules = append(rules, router.HistoryRule{Topic: wamp.URI(h.Topic), Match: match, Log: log})
	}
	return rules, logs
}

// openHistories opens the outboxes of the histories. Their names stand for topic
// and policy, so that a history is found again wherever it is in the file.
func (r *run) openHistories() error {
	for _, l := range r.histories {
		match, _ := wamp.ParseMatch(l.cfg.Match)
		sum := sha256.Sum256([]byte(match.String() + " " + l.cfg.Topic))
		size := l.cfg.MaxBytes
		if size == 0 {
			size = 16 << 20
		}
		box, err := r.store.Outbox("history-"+hex.EncodeToString(sum[:8]), store.OutboxConfig{MaxBytes: size, MaxAge: l.cfg.MaxAge})
		if err != nil {
			return err
		}
		l.box.Store(box)
	}
	return nil
}
