package serialize

import (
	"math"
	"sync"

	"gantry/wamp"
)

// scratch is the memory of one conversion.
type scratch struct {
	walk walk
	buf  []byte   // texts that cannot be borrowed
	keys []string // keys of the Go maps being encoded, all levels behind each other

	items  Decoder // of the container that cursor goes through
	cursor cursor
}

// keepScratch is the most memory, in bytes or items of a slice, that goes back to
// the pool: one large message must not be paid for ever.
const keepScratch = 64 << 10

var scratchPool = sync.Pool{New: func() any { return new(scratch) }}

func getScratch() *scratch { return scratchPool.Get().(*scratch) }

func (s *scratch) free() {
	if cap(s.buf) > keepScratch {
		s.buf = nil
	}
	if cap(s.walk.sizes) > keepScratch/4 {
		s.walk.sizes = nil
	}
	clear(s.keys) // left by an error; they would pin the strings
	if s.keys = s.keys[:0]; cap(s.keys) > keepScratch/64 {
		s.keys = nil
	}
	s.cursor = cursor{}
	scratchPool.Put(s)
}

// read proves that b is one value within the limits and returns a reader of its
// tokens, which uses the scratch memory.
func (s *scratch) read(f wamp.Format, b []byte, depth, elements int) (reader, error) {
	s.walk.limit(depth, elements)
	s.walk.record, s.walk.sizes = true, s.walk.sizes[:0]
	if i, err := s.walk.whole(f, b); err != nil {
		return reader{}, syntaxError(f, i, err)
	}
	return reader{format: f, b: b, sizes: s.walk.sizes, buf: s.buf[:0]}, nil
}

// Transcode appends the value src, which is in format from, to dst in format to.
// It goes token by token and builds no tree; src is checked for form first, and
// the result has no indefinite lengths, tags or padding. Where both formats are
// the same src is copied as it is. On error dst is returned unchanged with a
// *SyntaxError or, where to has no form for a value, a *wamp.PayloadError.
func Transcode(dst []byte, to wamp.Format, src []byte, from wamp.Format) ([]byte, error) {
	if err := known(to, from); err != nil {
		return dst, err
	}
	s := getScratch()
	defer s.free()
	w := writer{format: to, b: dst}
	if err := s.transcode(&w, src, from, maxDepth); err != nil {
		return dst, err
	}
	return w.finish(), nil
}

// known refuses formats that are none.
func known(formats ...wamp.Format) error {
	for _, f := range formats {
		if f == wamp.NoFormat || f >= wamp.FormatCount {
			return &wamp.PayloadError{Format: f, Text: "not a format"}
		}
	}
	return nil
}

// transcode appends the value src, nested to depth at most, to w.
func (s *scratch) transcode(w *writer, src []byte, from wamp.Format, depth int) error {
	r, err := s.read(from, src, depth, math.MaxInt)
	if err != nil {
		return err
	}
	if from == w.format {
		w.raw(src)
		return nil
	}
	err = copyTokens(w, &r)
	s.buf = r.buf
	if err != nil {
		return &wamp.PayloadError{Format: w.format, Text: err.Error()}
	}
	return nil
}

// copyTokens writes the value that r is at.
func copyTokens(w *writer, r *reader) error {
	var left [maxDepth + 1]uint64 // items due per level, 2 per pair
	var dicts uint64              // bit per level, innermost lowest: dict
	depth := 0
	left[0] = 1
	for {
		key := depth > 0 && dicts&1 == 1 && left[depth]&1 == 0
		t, err := r.next(key)
		if err != nil {
			return err
		}
		left[depth]--
		switch {
		case key:
			w.key(t.text())
			continue
		case t.kind == kindList:
			w.open(kindList, t.n)
			depth++
			left[depth], dicts = t.n, dicts<<1
		case t.kind == kindDict:
			w.open(kindDict, t.n)
			depth++
			left[depth], dicts = 2*t.n, dicts<<1|1
		default:
			if err := w.put(&t); err != nil {
				return err
			}
		}
		for left[depth] == 0 {
			if depth == 0 {
				return nil
			}
			w.close(kindList + kind(dicts&1)*(kindDict-kindList))
			depth--
			dicts >>= 1
		}
	}
}

// Valid reports whether b is exactly one well-formed value of format f within
// the limits: nil or a *SyntaxError.
func Valid(f wamp.Format, b []byte, lim Limits) error {
	if err := known(f); err != nil {
		return err
	}
	lim = lim.withDefaults()
	if len(b) > lim.Bytes {
		return syntaxError(f, lim.Bytes, errSize)
	}
	s := getScratch()
	defer s.free()
	s.walk.limit(lim.Depth, lim.Elements)
	s.walk.record = false
	if i, err := s.walk.whole(f, b); err != nil {
		return syntaxError(f, i, err)
	}
	return nil
}

// Encode returns p as a raw payload in format f. One that is in f already is
// returned as it is, with the bytes it borrows; otherwise the bytes are new. The
// error is a *wamp.PayloadError or, for a raw payload that is malformed, a
// *SyntaxError.
func Encode(f wamp.Format, p wamp.Payload) (wamp.Payload, error) {
	if err := known(f); err != nil {
		return wamp.Payload{}, err
	}
	if p.Format() == f {
		return p, nil
	}
	args, kwargs, err := encodeParts(f, &p)
	if err != nil {
		return wamp.Payload{}, err
	}
	return wamp.RawPayload(f, args, kwargs), nil
}

func encodeParts(f wamp.Format, p *wamp.Payload) (args, kwargs []byte, err error) {
	if from := p.Format(); from != wamp.NoFormat {
		rawArgs, rawKwargs := p.Raw()
		if rawArgs != nil {
			if args, err = Transcode(nil, f, rawArgs, from); err != nil {
				return nil, nil, err
			}
		}
		if rawKwargs != nil {
			kwargs, err = Transcode(nil, f, rawKwargs, from)
		}
		return args, kwargs, err
	}
	list, dict := p.GoValues()
	if len(list) > 0 {
		if args, err = AppendValue(nil, f, list); err != nil {
			return nil, nil, err
		}
	}
	if len(dict) > 0 {
		kwargs, err = AppendValue(nil, f, dict)
	}
	return args, kwargs, err
}
