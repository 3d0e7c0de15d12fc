// Package sparkplug encodes and decodes payloads of Sparkplug B, which are messages
// of Protocol Buffers, with the part of them that an edge node needs: metrics of the
// basic types with time, quality and unit. Source: Eclipse Sparkplug 3.0, chapter 6,
// and its sparkplug_b.proto.
package sparkplug

// Type is a data type of a metric.
type Type uint32

// The types (Sparkplug 3.0, 6.4.16).
const (
	Int8 Type = iota + 1
	Int16
	Int32
	Int64
	UInt8
	UInt16
	UInt32
	UInt64
	Float
	Double
	Boolean
	String
	DateTime
	Text
	UUID
	_
	Bytes
)

// Qualities of a metric (Sparkplug 3.0, 6.4.6: property Quality).
const (
	Bad   int32 = 0
	Good  int32 = 192
	Stale int32 = 500
)

// Payload is the body of a message.
type Payload struct {
	// Time is when it was made, in milliseconds since 1970-01-01 UTC.
	Time uint64
	// Seq is 0 to 255; NoSeq: there is none.
	Seq     uint64
	NoSeq   bool
	Metrics []Metric
}

// Metric is one value.
type Metric struct {
	Name string
	// Time is when it was measured, in milliseconds since 1970-01-01 UTC; 0 = not
	// said.
	Time uint64
	Type Type
	// Historical: it must not become the present value.
	Historical bool
	// Value is nil (null), bool, int64, uint64, float64, string or []byte, whichever
	// Type stands for.
	Value any
	// Quality, unless it is nil, and Unit, unless it is "", are properties.
	Quality *int32
	Unit    string
}

// TypeOf returns the type for a value of those that Metric.Value may have; false for
// any other.
func TypeOf(v any) (Type, bool) {
	switch v.(type) {
	case bool:
		return Boolean, true
	case int64:
		return Int64, true
	case uint64:
		return UInt64, true
	case float64:
		return Double, true
	case string:
		return String, true
	case []byte:
		return Bytes, true
	}
	return 0, false
}
