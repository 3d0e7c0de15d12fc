package sparkplug

import (
	"encoding/binary"
	"errors"
	"math"
	"unicode/utf8"
)

// ErrMalformed is the answer to what is not a payload of Sparkplug B.
var ErrMalformed = errors.New("not a Sparkplug B payload")

// maxMetrics bounds the metrics of a payload that is decoded.
const maxMetrics = 10_000

// field is one field of a message.
type field struct {
	number uint64
	wire   uint64
	n      uint64 // of a varint and of fixed numbers
	b      []byte // of bytes
}

// next takes a field off b.
func next(b []byte) (f field, rest []byte, err error) {
	key, w := binary.Uvarint(b)
	if w <= 0 || key>>3 == 0 {
		return f, nil, ErrMalformed
	}
	b = b[w:]
	f.number, f.wire = key>>3, key&7
	switch f.wire {
	case varint:
		if f.n, w = binary.Uvarint(b); w <= 0 {
			return f, nil, ErrMalformed
		}
		return f, b[w:], nil
	case fixed8:
		if len(b) < 8 {
			return f, nil, ErrMalformed
		}
		f.n = binary.LittleEndian.Uint64(b)
		return f, b[8:], nil
	case fixed4:
		if len(b) < 4 {
			return f, nil, ErrMalformed
		}
		f.n = uint64(binary.LittleEndian.Uint32(b))
		return f, b[4:], nil
	case chunk:
		n, w := binary.Uvarint(b)
		if w <= 0 || n > uint64(len(b)-w) {
			return f, nil, ErrMalformed
		}
		f.b = b[w : w+int(n)]
		return f, b[w+int(n):], nil
	}
	return f, nil, ErrMalformed // groups, which nobody has used since 2008
}

// each calls fn for each field of a message.
func each(b []byte, fn func(f field) error) error {
	for len(b) > 0 {
		f, rest, err := next(b)
		if err != nil {
			return err
		}
		if err := fn(f); err != nil {
			return err
		}
		b = rest
	}
	return nil
}

// Decode reads a payload. Values of data sets and templates are nil;
// properties other than Quality and engUnit are left out. Byte slices alias b.
func Decode(b []byte) (*Payload, error) {
	p := &Payload{NoSeq: true}
	err := each(b, func(f field) error {
		switch {
		case f.number == 1 && f.wire == varint:
			p.Time = f.n
		case f.number == 2 && f.wire == chunk:
			if len(p.Metrics) == maxMetrics {
				return ErrMalformed
			}
			m, err := decodeMetric(f.b)
			p.Metrics = append(p.Metrics, m)
			return err
		case f.number == 3 && f.wire == varint:
			p.Seq, p.NoSeq = f.n, false
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

func decodeMetric(b []byte) (m Metric, err error) {
	var value field
	null := false
	err = each(b, func(f field) error {
		switch {
		case f.number == 1 && f.wire == chunk:
			m.Name = string(f.b)
			if !utf8.Valid(f.b) {
				return ErrMalformed
			}
		case f.number == 3 && f.wire == varint:
			m.Time = f.n
		case f.number == 4 && f.wire == varint:
			m.Type = Type(f.n)
		case f.number == 5 && f.wire == varint:
			m.Historical = f.n != 0
		case f.number == 7 && f.wire == varint:
			null = f.n != 0
		case f.number == 9 && f.wire == chunk:
			return decodeProperties(f.b, &m)
		case f.number >= 10 && f.number <= 16:
			value = f
		}
		return nil
	})
	if err == nil && !null && value.number != 0 {
		m.Value, err = decodeValue(value, m.Type)
	}
	return m, err
}

func decodeProperties(b []byte, m *Metric) error {
	var keys []string
	i := 0
	return each(b, func(f field) error {
		if f.wire != chunk {
			return nil
		}
		switch f.number {
		case 1:
			keys = append(keys, string(f.b))
		case 2:
			if i >= len(keys) {
				return ErrMalformed
			}
			key := keys[i]
			i++
			return each(f.b, func(v field) error {
				switch {
				case key == "Quality" && v.number == 3 && v.wire == varint:
					q := int32(uint32(v.n))
					m.Quality = &q
				case key == "engUnit" && v.number == 8 && v.wire == chunk && utf8.Valid(v.b):
					m.Unit = string(v.b)
				}
				return nil
			})
		}
		return nil
	})
}

// decodeValue returns the value of a metric. Numbers have the sign that the type
// says; without a type they have none.
func decodeValue(f field, t Type) (any, error) {
	switch {
	case (f.number == 10 || f.number == 11) && f.wire == varint:
		switch t {
		case Int8:
			return int64(int8(f.n)), nil
		case Int16:
			return int64(int16(f.n)), nil
		case Int32:
			return int64(int32(f.n)), nil
		case Int64:
			return int64(f.n), nil
		case Boolean:
			return f.n != 0, nil
		}
		return f.n, nil
	case f.number == 12 && f.wire == fixed4:
		return float64(math.Float32frombits(uint32(f.n))), nil
	case f.number == 13 && f.wire == fixed8:
		return math.Float64frombits(f.n), nil
	case f.number == 14 && f.wire == varint:
		return f.n != 0, nil
	case f.number == 15 && f.wire == chunk:
		if !utf8.Valid(f.b) {
			return nil, ErrMalformed
		}
		return string(f.b), nil
	case f.number == 16 && f.wire == chunk:
		return f.b, nil
	}
	return nil, ErrMalformed
}
