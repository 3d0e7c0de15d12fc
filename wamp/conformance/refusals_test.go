package conformance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"gantry/wamp"
	"gantry/wamp/router"
	"gantry/wamp/wamptest"
)

var refusals = []item{{name: "72_denied_and_undecided", run: deniedAndUndecided}}

// lines keeps the texts that are logged.
type lines struct {
	mu    sync.Mutex // guards texts
	texts []string
}

func (l *lines) Enabled(context.Context, slog.Level) bool { return true }
func (l *lines) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *lines) WithGroup(string) slog.Handler            { return l }

func (l *lines) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.texts = append(l.texts, r.Message)
	return nil
}

func (l *lines) count(text string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.texts {
		if t == text {
			n++
		}
	}
	return n
}

func deniedAndUndecided(t *testing.T) {
	authorize := func(_ router.Identity, a router.Action, uri wamp.URI, _ wamp.Match) (bool, error) {
		if strings.HasPrefix(string(uri), "fails.") {
			return true, errors.New("the database of rights is on fire")
		}
		return !strings.HasPrefix(string(uri), "denied.") && !strings.HasSuffix(string(uri), ".not_"+string(a)), nil
	}
	for _, l := range wamptest.Links() {
		t.Run(l.String(), func(t *testing.T) {
			t.Parallel()
			log := &lines{}
			w := start(t, l, config{realm: router.RealmConfig{Authorize: authorize}, log: log})
			p, s := w.peer(), w.peer()
			subscribe(s, "sub", `{"match": "prefix"}`, "")
			p.Send(`[16, "+", {}, "denied.x", [1]]`)
			p.Fence() // silence
			if log.count("denied") != 1 {
				t.Error("a denied publication that nobody asked about is not logged")
			}
			p.Send(`[16, "+", {"acknowledge": false}, "fails.x", [1]]`)
			p.Fence()
			for prefix, reason := range map[string]string{"denied": "not_authorized", "fails": "authorization_failed"} {
				for _, r := range requests {
					p.Send(fmt.Sprintf(r.doc, prefix+".x"))
					p.Expect(fmt.Sprintf(`[8, %d, "=", {}, "wamp.error.%s", "..."]`, r.code, reason))
				}
			}
			s.Fence() // nothing of it has got through
			for i, action := range []string{"subscribe", "register", "call", "publish"} {
				for j, r := range requests {
					p.Send(fmt.Sprintf(r.doc, "may.not_"+action))
					if i == j {
						p.Expect(fmt.Sprintf(`[8, %d, "=", {}, "wamp.error.not_authorized", "..."]`, r.code))
						continue
					}
					switch r.code {
					case 48:
						if action == "register" {
							p.Expect(`[8, 48, "=", {}, "wamp.error.no_such_procedure", "..."]`)
							continue
						}
						p.Expect(`[68, "*", "*", {}]`)
					default:
						p.Expect(fmt.Sprintf(`[%d, "=", "*"]`, r.code+1))
					}
				}
			}
			if st := w.Stats(realm); st.Denied != 9 || st.Undecided != 5 {
				t.Errorf("%d denied and %d undecided are counted, expected 9 and 5", st.Denied, st.Undecided)
			}
		})
	}
}
