package serialize_test

import (
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// formats are the three serializers.
var formats = []wamp.Format{wamp.JSON, wamp.MsgPack, wamp.CBOR}

// unhex decodes hexadecimal with blanks.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return b
}

// input returns s as it is for JSON and as hexadecimal otherwise.
func input(t testing.TB, f wamp.Format, s string) []byte {
	t.Helper()
	if f == wamp.JSON {
		return []byte(s)
	}
	return unhex(t, s)
}

// show is the reverse of input.
func show(f wamp.Format, b []byte) string {
	if f == wamp.JSON {
		return string(b)
	}
	return hex.EncodeToString(b)
}

// wireCases reads testdata/messages.txt: name -> format -> bytes.
func wireCases(t testing.TB) map[string]map[wamp.Format][]byte {
	t.Helper()
	text, err := os.ReadFile("testdata/messages.txt")
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]map[wamp.Format][]byte{}
	var of map[wamp.Format][]byte
	var f wamp.Format
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		name, isName := strings.CutPrefix(line, "== ")
		switch {
		case line == "" || line[0] == '#':
		case isName:
			of = map[wamp.Format][]byte{}
			cases[name] = of
		default:
			for _, known := range formats {
				if strings.HasPrefix(line, known.String()+" ") {
					f = known
				}
			}
			if f == wamp.JSON {
				of[f] = []byte(line[9:])
				continue
			}
			item, _, _ := strings.Cut(line[9:], "  ")
			of[f] = append(of[f], unhex(t, item)...)
		}
	}
	return cases
}

// values replaces the payload of a cloned message by its Go values, so that
// messages of different formats compare equal.
func values(t testing.TB, m wamp.Message) wamp.Message {
	t.Helper()
	m = wamp.Clone(m)
	if p := payloadOf(m); p != nil {
		args, kwargs, err := serialize.Values(*p)
		if err != nil {
			t.Fatalf("payload of %s: %v", m.Type(), err)
		}
		*p = wamp.Values(args, kwargs)
	}
	return m
}

// payloadOf returns where the payload of m is, nil if its type has none.
func payloadOf(m wamp.Message) *wamp.Payload {
	switch m := m.(type) {
	case *wamp.Abort:
		return &m.Payload
	case *wamp.ErrorReply:
		return &m.Payload
	case *wamp.Publish:
		return &m.Payload
	case *wamp.Event:
		return &m.Payload
	case *wamp.Call:
		return &m.Payload
	case *wamp.Result:
		return &m.Payload
	case *wamp.Invocation:
		return &m.Payload
	case *wamp.Yield:
		return &m.Payload
	}
	return nil
}

func diff(want, got any) string {
	return cmp.Diff(want, got, cmp.AllowUnexported(wamp.Payload{}))
}
