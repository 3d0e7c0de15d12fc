package uplink

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"gantry/bridge/internal/broker"
)

// streamName is what NATS takes for the name of a stream, and one that can be a part
// of a file's name (NATS documentation, "JetStream: naming streams").
var streamName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,200}$`)

// withDefaults returns n with the defaults in place of zero values.
func (n NATS) withDefaults(forward []string) NATS {
	if n.Subjects == nil {
		for _, class := range forward {
			n.Subjects = append(n.Subjects, "gantry.*."+class+".>")
		}
		if !slices.Contains(forward, "alarm") { // gaps are told in any case
			n.Subjects = append(n.Subjects, "gantry.*.alarm.>")
		}
	}
	if n.OnFull == "" {
		n.OnFull = onFull[0]
	}
	if n.Duplicates == 0 {
		n.Duplicates = 2 * time.Minute
	}
	if n.Replicas == 0 {
		n.Replicas = 1
	}
	if n.Storage == "" {
		n.Storage = natsStorage[0]
	}
	return n
}

// checkNATS checks what is for kind nats.
func (c *Config) checkNATS(check func(ok bool, key, text, allowed string)) []error {
	n := c.NATS
	security := broker.TLS{CA: c.CA, Cert: n.Cert, Key: n.Key}
	check(c.Realm == "", "realm", "is there for kind nats", "realm only for kind wamp")
	checkServers(c.URL, security != broker.TLS{}, check)
	check(n.Stream == "" || streamName.MatchString(n.Stream), "nats.stream", fmt.Sprintf("%.80q is no name of a stream", n.Stream), "1 to 200 of A-Z a-z 0-9 _ -")
	check(!n.Create || n.Stream != "", "nats.stream", "is missing", "the name of the stream to create")
	check(len(n.Subjects) > 0 || len(c.Forward) == 0, "nats.subjects", "is empty", `such as ["gantry.*.point.>"]`)
	for i, s := range n.Subjects {
		key := fmt.Sprintf("nats.subjects[%d]", i)
		check(validSubject(s), key, fmt.Sprintf("%.80q is no subject", s), `such as "gantry.*.point.>"`)
		for _, class := range serveClasses {
			// A stream answers whoever publishes to it, and callers would take that for
			// the gateway's answer.
			check(!SubjectCovers(s, "gantry.*."+class), key, fmt.Sprintf("%.80q would keep calls of class %s as well", s, class), `subjects of events, such as "gantry.*.point.>"`)
		}
	}
	check(n.MaxBytes >= 0, "nats.max_bytes", fmt.Sprintf("is %d", n.MaxBytes), "0 (no limit), or bytes")
	check(n.MaxAge >= 0 && (n.MaxAge == 0 || n.MaxAge >= time.Second), "nats.max_age", "is "+n.MaxAge.String(), `0, or a duration from 1s, such as "72h"`)
	check(n.Duplicates >= 100*time.Millisecond && (n.MaxAge == 0 || n.Duplicates <= n.MaxAge), "nats.duplicates", "is "+n.Duplicates.String(), "100ms up to max_age")
	check(n.Replicas >= 1 && n.Replicas <= 5, "nats.replicas", fmt.Sprintf("is %d", n.Replicas), "1 to 5")
	check(n.OnFull == onFull[0] || n.OnFull == onFull[1], "nats.on_full", fmt.Sprintf("is %.40q", n.OnFull), strings.Join(onFull, ", "))
	check(n.Storage == natsStorage[0] || n.Storage == natsStorage[1], "nats.storage", fmt.Sprintf("is %.40q", n.Storage), strings.Join(natsStorage, ", "))
	return security.Validate()
}

// checkServers checks addresses of NATS servers with commas between.
func checkServers(addresses string, secured bool, check func(ok bool, key, text, allowed string)) {
	const allowed = `such as "nats://host:4222" or "tls://host1,tls://host2"`
	if addresses == "" {
		check(false, "url", "is missing", allowed)
		return
	}
	scheme := ""
	for address := range strings.SplitSeq(addresses, ",") {
		u, err := url.Parse(address)
		if err != nil || u.Scheme != "nats" && u.Scheme != "tls" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" {
			check(false, "url", fmt.Sprintf("%.80q is no address of a NATS server", address), allowed)
			return
		}
		check(u.User == nil, "url", "has a user name in it", "credentials are settings of their own")
		check(scheme == "" || scheme == u.Scheme, "url", "has nats:// and tls://", "one of them for all servers")
		scheme = u.Scheme
	}
	check(scheme == "tls" || !secured, "url", "is without TLS and there are ca or nats.cert", "tls://")
}

// validSubject reports whether s is a subject or a pattern of them.
func validSubject(s string) bool {
	tokens := strings.Split(s, ".")
	for i, t := range tokens {
		switch {
		case t == "" || strings.ContainsAny(t, " \t\r\n") || strings.HasPrefix(tokens[0], "$"):
			return false
		case t == ">" && i < len(tokens)-1:
			return false
		}
	}
	return true
}

// SubjectCovers reports whether the NATS subject pattern stands for any subject below
// prefix; parts of prefix that are * stand for anything.
func SubjectCovers(pattern, prefix string) bool {
	tokens := strings.Split(pattern, ".")
	for i, want := range strings.Split(prefix, ".") {
		switch {
		case i >= len(tokens):
			return false
		case tokens[i] == ">":
			return true
		case tokens[i] != "*" && want != "*" && tokens[i] != want:
			return false
		}
	}
	return true
}
