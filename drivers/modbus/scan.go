package modbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"gantry/drivers"
	"gantry/internal/lane"
)

// Found is a unit that a scan has found.
type Found struct {
	UnitID uint8
	// Answer says how it answered: a register's value, or the exception.
	Answer string
	// Vendor, Product and Version are its identification, empty where it has none.
	Vendor, Product, Version string
}

// Scan asks each of the units for the first holding register of the bus that cfg
// names, and those that answer in whatever way for their identification. It calls
// found for each, and returns when it is through, when ctx ends, or when the bus is
// lost. Units that do not answer are waited for as long as cfg says; nothing is
// asked again. A nil log discards.
func Scan(ctx context.Context, cfg Config, units []uint8, found func(Found), log *slog.Logger) error {
	cfg.Points, cfg.Profile, cfg.UnitID = nil, "", nil
	p, err := cfg.prepare(&Profile{})
	if err != nil {
		return err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	buses := NewBuses()
	bus, release, err := buses.attach(p.bus, "scan", log)
	if err != nil {
		return err
	}
	defer release()
	for _, unit := range units {
		r := request{unit: unit, timeout: p.timeout, priority: lane.Poll}
		resp, err := bus.do(ctx, r, readPDU(holding, 0, 1))
		f := Found{UnitID: unit}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, drivers.ErrTimeout):
			continue
		case errors.Is(err, errGarbled):
			f.Answer = "garbled"
		case err != nil:
			return fmt.Errorf("unit %d: %w", unit, err)
		default:
			if f.Answer = answerText(resp); f.Answer == "" {
				continue
			}
			f.identify(ctx, bus, r)
		}
		found(f)
	}
	return nil
}

// answerText shows the answer to a read of one register, "" for that of a gateway
// that has no such unit.
func answerText(resp []byte) string {
	data, err := checkResponse(readPDU(holding, 0, 1), resp)
	var e *Exception
	switch {
	case errors.As(err, &e) && (e.Code == gatewayNoPath || e.Code == gatewayNoResponse):
		return ""
	case err != nil:
		return whyOf(err)
	}
	return fmt.Sprintf("register 0 = %d", int(data[0])<<8|int(data[1]))
}

// identify asks for the basic identification; many units have none.
func (f *Found) identify(ctx context.Context, bus *bus, r request) {
	next, more := byte(0), true
	for range 4 { // three objects, in as many answers as the unit likes
		if !more {
			return
		}
		req := deviceIDPDU(1, next)
		resp, err := bus.do(ctx, r, req)
		if err != nil {
			return
		}
		body, err := checkResponse(req, resp)
		if err != nil {
			return
		}
		var objects []object
		if objects, next, more, err = parseDeviceID(body); err != nil {
			return
		}
		for _, o := range objects {
			switch o.id {
			case 0:
				f.Vendor = o.value
			case 1:
				f.Product = o.value
			case 2:
				f.Version = o.value
			}
		}
	}
}
