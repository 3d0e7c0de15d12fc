package serialize_test

import (
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

// vectorDir is where a copy of the protocol's test vectors (wamp-proto,
// testsuite) may be, beside the checkout.
const vectorDir = "../../../shared/wamp-vectors/singlemessage"

type vectorFile struct {
	Type    string `json:"wamp_message_type"`
	Samples []struct {
		Description string `json:"description"`
		Serializers map[string][]struct {
			Hex string `json:"bytes_hex"`
		} `json:"serializers"`
		Expected map[string]any  `json:"expected_attributes"`
		Message  json.RawMessage `json:"wmsg"`
		Error    *struct {
			Contains string `json:"contains"`
		} `json:"expected_error"`
	} `json:"samples"`
}

// vectorFields are the attributes of the vectors, in the order of the wire.
var vectorFields = map[string][]string{
	"HELLO":        {"realm", "details"},
	"WELCOME":      {"session_id", "details"},
	"ABORT":        {"details", "reason"},
	"CHALLENGE":    {"method", "extra"},
	"AUTHENTICATE": {"signature", "extra"},
	"GOODBYE":      {"details", "reason"},
	"ERROR":        {"request_type", "request_id", "details", "error", "args", "kwargs"},
	"PUBLISH":      {"request_id", "options", "topic", "args", "kwargs"},
	"PUBLISHED":    {"request_id", "publication_id"},
	"SUBSCRIBE":    {"request_id", "options", "topic"},
	"SUBSCRIBED":   {"request_id", "subscription_id"},
	"UNSUBSCRIBE":  {"request_id", "subscription_id"},
	"UNSUBSCRIBED": {"request_id"},
	"EVENT":        {"subscription", "publication", "details", "args", "kwargs"},
	"CALL":         {"request_id", "options", "procedure", "args", "kwargs"},
	"CANCEL":       {"request_id", "options"},
	"RESULT":       {"request_id", "details", "args", "kwargs"},
	"REGISTER":     {"request_id", "options", "procedure"},
	"REGISTERED":   {"request_id", "registration_id"},
	"UNREGISTER":   {"request_id", "registration_id"},
	"UNREGISTERED": {"request_id"},
	"INVOCATION":   {"request_id", "registration_id", "details", "args", "kwargs"},
	"INTERRUPT":    {"request_id", "options"},
	"YIELD":        {"request_id", "options", "args", "kwargs"},
}

// foreign are attributes of other implementations, unknown here and therefore
// ignored (BP "Messages"), whatever their type.
var foreign = regexp.MustCompile(`"(transaction_hash|x_acknowledged_delivery|forward_for|enc_algo|enc_serializer)"`)

func TestProtocolVectors(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(vectorDir); err != nil {
		t.Skipf("no test vectors in %s", vectorDir)
	}
	samples := 0
	err := filepath.WalkDir(vectorDir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var file vectorFile
		if err := json.Unmarshal(text, &file); err != nil {
			return err
		}
		for _, s := range file.Samples {
			samples++
			t.Run(filepath.Base(path)+" "+s.Description, func(t *testing.T) {
				if s.Serializers == nil {
					contains := ""
					if s.Error != nil {
						contains = s.Error.Contains
					}
					validationVector(t, string(s.Message), contains)
					return
				}
				wires := map[wamp.Format][][]byte{}
				for _, f := range formats {
					for _, b := range s.Serializers[f.String()] {
						wires[f] = append(wires[f], unhex(t, b.Hex))
					}
				}
				serializationVector(t, file.Type, wires, s.Expected)
			})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if samples < 80 {
		t.Errorf("only %d samples", samples)
	}
}

func validationVector(t *testing.T, doc, contains string) {
	var fields []any
	if err := json.Unmarshal([]byte(doc), &fields); err != nil {
		t.Fatal(err)
	}
	// Autobahn's transparent payload mode: text where PUBLISH and EVENT have
	// their arguments.
	transparent := false
	if len(fields) > 4 {
		_, transparent = fields[4].(string)
	}
	for _, f := range formats {
		m, err := decodeAs(t, f, doc)
		switch {
		case transparent:
			if err == nil || !strings.Contains(err.Error(), "Arguments") {
				t.Errorf("%s: a transparent payload is taken: %v", f, err)
			}
		case strings.Contains(doc, `"match": "invalid"`):
			if s, ok := m.(*wamp.Subscribe); !ok || s.Options.Match != wamp.MatchInvalid {
				t.Errorf("%s: %v %v, want a policy for the router to refuse", f, m, err)
			}
		case contains == "" || foreign.MatchString(doc):
			if err != nil {
				t.Errorf("%s: %v", f, err)
			}
		default:
			if err == nil || !strings.Contains(err.Error(), contains) {
				t.Errorf("%s: %v, want %q", f, err, contains)
			}
		}
	}
}

func serializationVector(t *testing.T, name string, wires map[wamp.Format][][]byte, expected map[string]any) {
	_, encrypted := expected["payload"].(string)
	var first wamp.Message
	for f, forms := range wires {
		d := serialize.NewDecoder(f, serialize.Limits{})
		for _, wire := range forms {
			m, err := d.Decode(wire)
			if encrypted || name == "EVENT_RECEIVED" {
				if err == nil {
					t.Errorf("%s: %+v", f, m)
				}
				continue
			}
			if err != nil {
				t.Fatalf("%s: %v: %s", f, err, hex.EncodeToString(wire))
			}
			own := values(t, m)
			if first == nil {
				first = own
			} else if d := diff(first, own); d != "" {
				t.Errorf("%s: %s", f, d)
			}
			written(t, name, f, m, forms, expected)
		}
	}
}

// written checks what is written for m: the expected attributes, and the bytes,
// apart from the order of keys, of one of the forms.
func written(t *testing.T, name string, f wamp.Format, m wamp.Message, forms [][]byte, expected map[string]any) {
	got, err := serialize.Append(nil, f, m)
	if err != nil {
		t.Fatal(err)
	}
	v, err := serialize.ParseValue(f, got, serialize.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	list := v.(wamp.List)
	if list[0] != int64(m.Type()) || m.Type().String() != name {
		t.Errorf("%s: %v is no %s", f, list[0], name)
	}
	text, _ := json.Marshal(expected)
	if name == "CANCEL" || name == "INTERRUPT" || foreign.Match(text) {
		return // the mode is always written; foreign attributes are dropped
	}
	for i, field := range vectorFields[name] {
		want, ok := expected[field]
		if roles := expected["roles"]; field == "details" && roles != nil {
			want, ok = map[string]any{"roles": roles}, true
		}
		var value any
		if i+1 < len(list) {
			value = list[i+1]
		}
		if ok && !sameJSONValue(t, value, want) {
			t.Errorf("%s: %s is %v, want %v", f, field, value, want)
		}
	}
	for _, form := range forms {
		if same, err := serialize.ParseValue(f, form, serialize.Limits{}); err == nil &&
			sameValue(v, same) && len(got) == len(form) {
			return
		}
	}
	t.Errorf("%s: written as %s", f, show(f, got))
}

// sameJSONValue compares v with what encoding/json made of the same text.
func sameJSONValue(t *testing.T, v, want any) bool {
	b, err := serialize.AppendValue(nil, wamp.JSON, v)
	if err != nil {
		t.Fatal(err)
	}
	var got any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	return diff(want, got) == ""
}
