package later

import (
	"errors"
	"testing"
	"time"

	"gantry/bridge"
	"gantry/wamp"
)

func TestConfig(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		cfg Config
		key string // "" = it is in order
	}{
		{Config{}, ""},
		{Config{MaxOpen: 50}, ""},
		{Config{MaxOpen: 2000, MaxCaller: 2000, MaxEnded: 2000, MaxBytes: 6000}, ""},
		{Config{MaxOpen: 2000, MaxEnded: 2000}, "max_bytes"},
		{Config{MaxOpen: 2001}, "max_open"},
		{Config{MaxOpen: -1}, "max_open"},
		{Config{MaxCaller: 501}, "max_caller"},
		{Config{MaxEnded: -1}, "max_ended"},
		{Config{MaxBytes: 63}, "max_bytes"},
		{Config{MaxBytes: 65537}, "max_bytes"},
		{Config{MaxAge: 367 * 24 * time.Hour}, "max_age"},
		{Config{MaxAge: time.Millisecond}, "max_age"},
		{Config{SetTimeout: -time.Second}, "set_timeout"},
		{Config{DoTimeout: 25 * time.Hour}, "do_timeout"},
	} {
		err := c.cfg.Validate()
		var wrong *bridge.ConfigError
		if c.key == "" && err != nil || c.key != "" && (!errors.As(err, &wrong) || wrong.Key != c.key || wrong.Allowed == "") {
			t.Errorf("%+v: %v, want one of %q", c.cfg, err, c.key)
		}
	}
}

// TestAnonymousCallersAreOne counts the jobs of those who do not say who they are
// together, as each of their sessions has another authid.
func TestAnonymousCallersAreOne(t *testing.T) {
	t.Parallel()
	now := at(0, true, "a")
	for role, want := range map[string]bool{"anonymous": false, "op": true} {
		q := NewQueue(Limits{Caller: 2, Anonymous: "anonymous"}, nil)
		for _, id := range []string{"a", "b", "c"} {
			j := aJob(id, now, time.Hour)
			j.AuthID, j.AuthRole = "guest_"+id, role
			_, changes, err := q.Add(j, false)
			if id != "c" && err != nil || id == "c" && (err == nil) != want || err != nil && !wamp.IsError(err, wamp.ErrURILimit) {
				t.Errorf("%s, job %s: %v", role, id, err)
			}
			q.Commit(changes)
		}
	}
}
