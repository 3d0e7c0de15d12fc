package conformance

import (
	stdjson "encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gantry/wamp/wamptest"
)

// sequencesDir is where a copy of the protocol's test vectors (wamp-proto,
// testsuite) may be, beside the checkout: sequences of messages of several
// sessions. Those of single messages are run by the serializers' tests.
const sequencesDir = "../../../shared/wamp-vectors/multisession"

// sequence is what a file of sequencesDir says is sent and received.
type sequence struct {
	Sessions []struct {
		ID    string   `json:"session_id"`
		Roles []string `json:"roles"`
		Realm string   `json:"realm"`
	} `json:"sessions"`
	Steps []struct {
		Description string         `json:"description"`
		From        string         `json:"from"`
		To          string         `json:"to"`
		Message     map[string]any `json:"message"`
	} `json:"sequence"`
}

// shapes are the messages in sequences: the code, and the attributes in the order
// of the wire. Those with a colon are IDs that the router chooses: the number in
// the file names them.
var shapes = map[string][]string{
	"SUBSCRIBE":    {"32", "request_id", "options", "topic"},
	"SUBSCRIBED":   {"33", "request_id", ":subscription_id"},
	"UNSUBSCRIBE":  {"34", "request_id", ":subscription_id"},
	"UNSUBSCRIBED": {"35", "request_id"},
	"PUBLISH":      {"16", "request_id", "options", "topic", "args", "kwargs"},
	"PUBLISHED":    {"17", "request_id", ":publication_id"},
	"EVENT":        {"36", ":subscription_id", ":publication_id", "details", "args", "kwargs"},
	"CALL":         {"48", "request_id", "options", "procedure", "args", "kwargs"},
	"CANCEL":       {"49", "request_id", "options"},
	"RESULT":       {"50", "request_id", "details", "args", "kwargs"},
	"REGISTER":     {"64", "request_id", "options", "procedure"},
	"REGISTERED":   {"65", "request_id", ":registration_id"},
	"UNREGISTER":   {"66", "request_id", ":registration_id"},
	"UNREGISTERED": {"67", "request_id"},
	"INVOCATION":   {"68", ":request_id", ":registration_id", "details", "args", "kwargs"},
	"INTERRUPT":    {"69", ":request_id", "options"},
	"YIELD":        {"70", ":request_id", "options", "args", "kwargs"},
}

// document turns a message of a sequence into one of wamptest.
func document(t *testing.T, m map[string]any) string {
	t.Helper()
	kind, _ := m["type"].(string)
	shape := shapes[kind]
	if shape == nil {
		t.Fatalf("a sequence has a message of type %q, which this test cannot read", kind)
	}
	parts := []string{shape[0]}
	for _, attribute := range shape[1:] {
		name, chosen := strings.CutPrefix(attribute, ":")
		v, ok := m[name]
		switch {
		case chosen:
			parts = append(parts, fmt.Sprintf(`"$%s %v"`, name, v))
			continue
		case !ok && name == "args", !ok && name == "kwargs":
			if name == "args" && m["kwargs"] != nil {
				parts = append(parts, "[]")
			}
			continue
		case !ok:
			t.Fatalf("%s has no %s", kind, name)
		}
		b, err := stdjson.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, string(b))
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// TestSequences plays the protocol's own sequences over every link.
func TestSequences(t *testing.T) {
	t.Parallel()
	var files []string
	_ = filepath.WalkDir(sequencesDir, func(path string, e os.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".json" {
			files = append(files, path)
		}
		return nil
	})
	if len(files) == 0 {
		t.Skipf("no sequences in %s", sequencesDir)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var seq sequence
		if err := stdjson.Unmarshal(text, &seq); err != nil || len(seq.Steps) == 0 {
			t.Fatalf("%s: %v, %d steps", file, err, len(seq.Steps))
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			t.Parallel()
			everywhere(t, func(w *world) { w.plays(&seq) })
		})
	}
}

func (w *world) plays(seq *sequence) {
	peers := map[string]*wamptest.Peer{}
	var all []*wamptest.Peer
	for _, s := range seq.Sessions {
		p := w.connect()
		p.Name += " " + s.ID
		p.Join(s.Realm)
		peers[s.ID], all = p, append(all, p)
	}
	for _, step := range seq.Steps {
		doc := document(w.t, step.Message)
		from, to := peers[step.From], peers[step.To]
		switch {
		case from != nil:
			from.Send(doc)
		case to != nil:
			to.Expect(doc)
		default:
			w.t.Fatalf("%s: from %q to %q", step.Description, step.From, step.To)
		}
	}
	fences(all...) // and nothing else
}
