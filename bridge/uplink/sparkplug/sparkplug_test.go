package sparkplug_test

import (
	"bytes"
	"math"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"gantry/bridge/uplink/sparkplug"
	"gantry/internal/mosquitto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quality(q int32) *int32 { return &q }

func example() *sparkplug.Payload {
	return &sparkplug.Payload{Time: 1772366400123, Seq: 7, Metrics: []sparkplug.Metric{
		{Name: "bdSeq", Type: sparkplug.Int64, Value: int64(-3)},
		{Name: "temperature", Time: 1772366400000, Type: sparkplug.Double, Value: 21.5, Quality: quality(sparkplug.Good), Unit: "Cel"},
		{Name: "on", Type: sparkplug.Boolean, Value: true, Historical: true},
		{Name: "off", Type: sparkplug.Boolean, Value: false},
		{Name: "count", Type: sparkplug.UInt64, Value: uint64(math.MaxUint64)},
		{Name: "größe", Type: sparkplug.String, Value: "voll"},
		{Name: "raw", Type: sparkplug.Bytes, Value: []byte{0, 255}},
		{Name: "gone", Type: sparkplug.Double, Quality: quality(sparkplug.Stale)},
	}}
}

// wire is the beginning of example, field by field.
var wire = []byte{
	0x08, 0xfb, 0x94, 0x94, 0xca, 0xca, 0x33, // timestamp
	0x12, 20, // metric of 20 bytes
	0x0a, 5, 'b', 'd', 'S', 'e', 'q', // name
	0x20, 4, // datatype Int64
	0x58, 0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, // long_value -3
}

func TestPayload(t *testing.T) {
	t.Parallel()
	want := example()
	b := sparkplug.Append(nil, want)
	if !bytes.HasPrefix(b, wire) {
		t.Errorf("% x", b[:len(wire)])
	}
	got, err := sparkplug.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestProtocReadsIt has the compiler of Protocol Buffers decode what is encoded here
// by the published definition.
func TestProtocReadsIt(t *testing.T) {
	t.Parallel()
	protoc := mosquitto.Need(t, "protoc", "protobuf-compiler")
	cmd := exec.Command(protoc, "--proto_path=testdata", "--decode=sparkplug.Payload", "sparkplug_b.proto")
	cmd.Stdin = bytes.NewReader(sparkplug.Append(nil, example()))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text := strings.Join(strings.Fields(string(out)), " ")
	for _, want := range []string{
		"timestamp: 1772366400123 metrics {",
		`name: "bdSeq" datatype: 4 long_value: 18446744073709551613`,
		`name: "temperature" timestamp: 1772366400000 datatype: 10 properties { keys: "Quality" keys: "engUnit" values { type: 3 int_value: 192 } values { type: 12 string_value: "Cel" } } double_value: 21.5`,
		`name: "on" datatype: 11 is_historical: true boolean_value: true`,
		`name: "off" datatype: 11 boolean_value: false`,
		`name: "count" datatype: 8 long_value: 18446744073709551615`,
		`datatype: 12 string_value: "voll"`,
		`name: "raw" datatype: 17 bytes_value: "\000\377"`,
		`name: "gone" datatype: 10 is_null: true properties { keys: "Quality" values { type: 3 int_value: 500 } }`,
		"} seq: 7",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}

// TestProtocWritesIt decodes what others encode, small integers and floats included.
func TestProtocWritesIt(t *testing.T) {
	t.Parallel()
	protoc := mosquitto.Need(t, "protoc", "protobuf-compiler")
	cmd := exec.Command(protoc, "--proto_path=testdata", "--encode=sparkplug.Payload", "sparkplug_b.proto")
	cmd.Stdin = strings.NewReader(`
		metrics { name: "a" datatype: 3 int_value: 4294967295 }
		metrics { name: "b" datatype: 9 float_value: 0.5 }
		metrics { name: "c" alias: 9 datatype: 1 int_value: 255 }
		metrics { name: "d" datatype: 11 boolean_value: true metadata { description: "x" } }`)
	b, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	got, err := sparkplug.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	want := &sparkplug.Payload{NoSeq: true, Metrics: []sparkplug.Metric{
		{Name: "a", Type: sparkplug.Int32, Value: int64(-1)},
		{Name: "b", Type: sparkplug.Float, Value: 0.5},
		{Name: "c", Type: sparkplug.Int8, Value: int64(-1)},
		{Name: "d", Type: sparkplug.Boolean, Value: true},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(sparkplug.Append(nil, example()))
	f.Add([]byte{0x12, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := sparkplug.Decode(b)
		if err != nil {
			return
		}
		for _, m := range p.Metrics {
			if f, ok := m.Value.(float64); ok && f != f {
				return // NaN is not equal to itself
			}
			if typ, ok := sparkplug.TypeOf(m.Value); m.Value != nil && (!ok || typ != m.Type) {
				return // a value that its type does not stand for
			}
		}
		again, err := sparkplug.Decode(sparkplug.Append(nil, p))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(p, again); diff != "" {
			t.Error(diff)
		}
	})
}
