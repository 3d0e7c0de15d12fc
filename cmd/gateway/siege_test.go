package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// siegeBudget is what the program may keep in RAM under every attack, in bytes.
// The race detector keeps several bytes about each byte of the program: a sixth
// of the attackers then takes up to 440 MB.
func siegeBudget() int64 {
	const budget = 160 << 20
	if underRace {
		return 4 * budget
	}
	return budget
}

// siegeWait is how long a good client may have to wait for anything, besides what
// the machine makes everybody wait: see garrison.
func siegeWait() time.Duration {
	if underRace {
		return 3 * time.Second
	}
	return time.Second
}

// siege is a gateway under attack, with good clients inside.
type siege struct {
	t        *testing.T
	p        *program
	quiet    *program // a second one, that nobody attacks
	host     string   // of WAMP and HTTP
	garrison *garrison
	open     []net.Conn // of the present attack
}

// TestSiege attacks a gateway that has the default limits in one way after the
// other, while good clients of the same machine go on working. Their waits, the
// memory of the program and what is left of each attack are bounded.
func TestSiege(t *testing.T) {
	if _, err := os.Stat("/proc/self/clear_refs"); err != nil {
		t.Skip("needs /proc of Linux")
	}
	dir := t.TempDir()
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte("correct horse\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	files := siegeDevices(password)
	files["gantry.toml"] = fmt.Sprintf(`schema = 1
gateway.name = "fort"
mqtt = { listen = "127.0.0.1:0", connect_timeout = "3s" }
[listen]
handshake_timeout = "3s"
hello_timeout = "3s"
[[history]]
topic = "siege.history."
match = "prefix"
max_bytes = 1048576
[user.ann]
role = "guard"
password = "file:%s"
`, password)
	config := writeFiles(t, files)
	s := &siege{t: t, p: startProgram(t, config, t.TempDir(), "GOMEMLIMIT=120MiB"), quiet: startProgram(t, config, t.TempDir())}
	s.host = strings.TrimSuffix(strings.TrimPrefix(s.p.url, "ws://"), "/ws")
	s.garrison = s.man()
	began := time.Now()
	s.watch("peace", "", func(*siege) {})
	for _, a := range []struct {
		name  string
		run   func(*siege)
		count string // the metric that tells of it; "" = nothing is refused
	}{
		{"length bombs", lengthBombs, `gantry_transport_refused_total{reason="too_large"}`},
		{"messages that never end", endlessMessages, `gantry_transport_refused_total{reason="too_large"}`},
		{"batches", hostileBatches, `gantry_transport_refused_total{reason="protocol"}`},
		{"nesting and counts", nesting, `gantry_transport_refused_total{reason="protocol"}`},
		{"slow handshakes", slowloris, `gantry_transport_refused_total{reason="handshake_timeout"}`},
		{"5000 half-open connections", halfOpen, refusedHalfOpen},
		{"connection churn", churn, ""},
		{"goodbye and abort storms", farewells, `gantry_router_violations_total`},
		{"subscription bombs", subscriptionBombs, `gantry_router_requests_refused_total{reason="gantry.error.limit"}`},
		{"registration bombs", registrationBombs, `gantry_router_requests_refused_total{reason="gantry.error.limit"}`},
		{"pattern bombs", patternBombs, `gantry_router_requests_refused_total{reason="gantry.error.limit"}`},
		{"never-reading subscribers", deafSubscribers, `gantry_router_dropped_total`},
		{"never-reading caller", deafCaller, `gantry_router_slow_consumers_total`},
		{"pipelines that nobody reads", unreadPipelines, `gantry_router_paused_total`},
		{"meta floods", metaFloods, ""},
		{"testaments and definitions", testaments, `gantry_router_requests_refused_total{reason="gantry.error.limit"}`},
		{"calls that nobody answers", pendingCalls, `gantry_router_requests_refused_total{reason="gantry.error.limit"}`},
		{"calls with timeouts", timeouts, `gantry_router_requests_refused_total{reason="wamp.error.timeout"}`},
		{"history flood", historyFlood, ""},
		{"wrong proofs", wrongProofs, `gantry_router_logins_refused_total{reason="wamp.error.authentication_failed"}`},
		{"mqtt half-open connections", mqttHalfOpen, mqttEndedHalfOpen},
		{"mqtt floods", mqttFloods, `gantry_mqtt_ended_total{why="malformed"}`},
		{"never-reading mqtt subscribers", mqttDeaf, `gantry_mqtt_ended_total{why="slow"}`},
		{"strangers at the doors of devices", strangers, refusedHalfOpen},
		{"retained flood", retainedFlood, `gantry_router_not_retained_total`},
	} {
		s.watch(a.name, a.count, a.run)
	}
	s.garrison.dismiss()
	s.p.stop()
	s.quiet.stop()
	// Of each kind one line in a second at most.
	lines, allowed := strings.Count(s.p.out.String(), "\n"), 20*int(time.Since(began).Seconds()+1)
	if t.Logf("%d lines of log", lines); lines > allowed {
		t.Errorf("the log has %d lines, allowed are %d", lines, allowed)
	}
}

// watch runs one attack and looks at what it has done.
func (s *siege) watch(name, count string, attack func(*siege)) {
	s.t.Run(name, func(t *testing.T) {
		outer := s.t
		s.t = t
		defer func() { s.t = outer }()
		s.resetPeak()
		before, counted := s.resources(), s.metric(count)
		s.garrison.fresh()
		began := time.Now()
		attack(s)
		took := time.Since(began)
		s.garrison.report(t, took)
		s.hangUp()
		if n := s.metric(count) - counted; count != "" && n <= 0 {
			t.Errorf("%s does not tell of it", count)
		} else if count != "" {
			t.Logf("%.0f more of %s", n, count)
		}
		peak := s.p.status("VmHWM")
		t.Logf("peak %d MB, then %d MB", peak>>20, s.p.status("VmRSS")>>20)
		if peak > siegeBudget() {
			t.Errorf("the program took %d MB, allowed are %d", peak>>20, siegeBudget()>>20)
		}
		s.settle(before)
	})
}

// hangUp closes the attackers' connections.
func (s *siege) hangUp() {
	for _, c := range s.open {
		_ = c.Close()
	}
	s.open = nil
}

// resources are what an attack must give back.
type resources struct{ files, goroutines int }

func (s *siege) resources() resources {
	files, err := os.ReadDir(s.p.proc("fd"))
	if err != nil {
		s.t.Fatal(err)
	}
	return resources{len(files), int(s.metric("go_goroutines"))}
}

// settle waits until the program holds no more than before. What good clients
// have open at the moment may differ.
func (s *siege) settle(before resources) {
	const slack = 24
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(patience); ; {
		now := s.resources()
		if now.files <= before.files+slack && now.goroutines <= before.goroutines+slack {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			s.t.Fatalf("%+v before the attack, %+v are left of it", before, now)
		}
	}
}

// resetPeak makes VmHWM begin anew (proc(5), clear_refs).
func (s *siege) resetPeak() {
	if err := os.WriteFile(s.p.proc("clear_refs"), []byte("5"), 0); err != nil {
		s.t.Fatal(err)
	}
}

// metric reads the sum of all values of a metric; "" = 0.
func (s *siege) metric(name string) float64 {
	if name == "" {
		return 0
	}
	return s.p.metric(name)
}

// scale is the number of something, less of it in a short test and under the race
// detector.
func scale(n int) int {
	if testing.Short() {
		n /= 10
	}
	if underRace {
		n /= 6
	}
	return max(n, 1)
}
