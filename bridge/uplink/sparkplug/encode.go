package sparkplug

import (
	"encoding/binary"
	"math"
)

// The wire types of Protocol Buffers.
const (
	varint = 0
	fixed8 = 1 // 8 bytes
	chunk  = 2 // length and bytes
	fixed4 = 5 // 4 bytes
)

// Append appends the payload to dst. Metrics must be as Metric says.
func Append(dst []byte, p *Payload) []byte {
	dst = appendUint(dst, 1, p.Time)
	var m []byte
	for i := range p.Metrics {
		m = appendMetric(m[:0], &p.Metrics[i])
		dst = appendBytes(dst, 2, m)
	}
	if !p.NoSeq {
		dst = appendUint(dst, 3, p.Seq)
	}
	return dst
}

func appendMetric(dst []byte, m *Metric) []byte {
	dst = appendBytes(dst, 1, m.Name)
	if m.Time != 0 {
		dst = appendUint(dst, 3, m.Time)
	}
	dst = appendUint(dst, 4, uint64(m.Type))
	if m.Historical {
		dst = appendUint(dst, 5, 1)
	}
	if m.Value == nil {
		dst = appendUint(dst, 7, 1)
	}
	if m.Quality != nil || m.Unit != "" {
		dst = appendBytes(dst, 9, properties(m))
	}
	return appendValue(dst, m.Value)
}

// properties returns a PropertySet: all keys, then as many values.
func properties(m *Metric) (set []byte) {
	if m.Quality != nil {
		set = appendBytes(set, 1, "Quality")
	}
	if m.Unit != "" {
		set = appendBytes(set, 1, "engUnit")
	}
	if m.Quality != nil {
		v := appendUint(nil, 1, uint64(Int32))
		set = appendBytes(set, 2, appendUint(v, 3, uint64(uint32(*m.Quality))))
	}
	if m.Unit != "" {
		v := appendUint(nil, 1, uint64(String))
		set = appendBytes(set, 2, appendBytes(v, 8, m.Unit))
	}
	return set
}

func appendValue(dst []byte, v any) []byte {
	switch v := v.(type) {
	case bool:
		n := uint64(0)
		if v {
			n = 1
		}
		return appendUint(dst, 14, n)
	case int64:
		// Sparkplug has signed numbers as the unsigned ones of the same bits.
		return appendUint(dst, 11, uint64(v))
	case uint64:
		return appendUint(dst, 11, v)
	case float64:
		return binary.LittleEndian.AppendUint64(appendKey(dst, 13, fixed8), math.Float64bits(v))
	case string:
		return appendBytes(dst, 15, v)
	case []byte:
		return appendBytes(dst, 16, v)
	}
	return dst
}

func appendKey(dst []byte, field, wire uint64) []byte {
	return binary.AppendUvarint(dst, field<<3|wire)
}

func appendUint(dst []byte, field, v uint64) []byte {
	return binary.AppendUvarint(appendKey(dst, field, varint), v)
}

func appendBytes[T string | []byte](dst []byte, field uint64, b T) []byte {
	return append(binary.AppendUvarint(appendKey(dst, field, chunk), uint64(len(b))), b...)
}
