package i2c

import (
	"context"
	"encoding/binary"
	"time"

	"gantry/drivers"
)

// bh1750 is a Rohm BH1750FVI: one measurement of high resolution, 1 lx. It has nothing
// to know it by. Source: data sheet BH1750FVI 2011.11 Rev. D, pages 5 and 7.
type bh1750 struct{}

func (bh1750) points() []drivers.Point {
	return []drivers.Point{{ID: "illuminance", Unit: "lx"}}
}

func (bh1750) start(ctx context.Context, w wire) error { return w.write(ctx, 0x01) }

func (bh1750) read(ctx context.Context, w wire, _ []string) ([]drivers.Reading, error) {
	if err := w.write(ctx, 0x20); err != nil {
		return nil, err
	}
	if err := pause(ctx, 180*time.Millisecond); err != nil {
		return nil, err
	}
	b := make([]byte, 2)
	if err := w.transfer(ctx, nil, b); err != nil {
		return nil, err
	}
	return []drivers.Reading{decodeBH1750([2]byte(b))}, nil
}

func decodeBH1750(b [2]byte) drivers.Reading {
	raw := binary.BigEndian.Uint16(b[:])
	r := good("illuminance", float64(raw)/1.2)
	if raw == 0xffff {
		r.Quality, r.Why = drivers.Uncertain, whyClipped
	}
	return r
}
