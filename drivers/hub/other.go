package hub

import (
	"context"

	"gantry/drivers"
)

// change is a device that has turned out to be another, see drivers.OtherError.
type change struct {
	old     *device
	driver  drivers.Driver
	refused chan error // why it stays as it is; capacity 1: the hub goes on
}

// become has the hub put a device with another driver in d's place, which ends ctx. The
// error says why it does not.
func (d *device) become(ctx context.Context, driver drivers.Driver) error {
	c := &change{old: d, driver: driver, refused: make(chan error, 1)}
	select {
	case d.hub.changes <- c:
	case <-ctx.Done():
		return nil
	}
	select {
	case err := <-c.refused:
		return err
	case <-ctx.Done():
		return nil
	}
}

// exchange makes the changes that devices ask for, until ctx ends: no device can wait
// for its own end.
func (h *Hub) exchange(ctx context.Context) {
	for {
		select {
		case c := <-h.changes:
			if err := h.apply(c); err != nil {
				c.refused <- err
			}
		case <-ctx.Done():
			return
		}
	}
}

func (h *Hub) apply(c *change) error {
	h.admin <- struct{}{}
	defer func() { <-h.admin }()
	old := c.old
	if h.device(old.name) != old {
		return nil // somebody else has ended it
	}
	d, err := h.newDevice(Device{Name: old.name, Config: old.cfg, Driver: c.driver, Found: old.found, Renew: old.renew})
	if err != nil {
		return err
	}
	h.halt(old, "restart", func(id string) bool { return id == "" || d.byID[id] != nil })
	h.put(d)
	return nil
}
