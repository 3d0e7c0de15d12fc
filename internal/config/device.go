package config

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gantry/drivers"
	"gantry/drivers/hub"
)

// tables reads the device tables of one file.
func (l *loader) tables(doc *document, devices map[string]map[string]any) {
	for _, name := range sortedKeys(devices) {
		d := decoder{doc: doc, device: name}
		path := []string{"device", name}
		first, twice := l.seen[name]
		if twice {
			d.fail(path, fmt.Sprintf("device is defined twice, here and at %s; neither runs", first), "one definition")
		} else {
			l.seen[name] = place{doc.file, doc.line(path)}
		}
		dev := l.device(&d, path, devices[name])
		switch {
		case twice:
			l.good = slices.DeleteFunc(l.good, func(d Device) bool { return d.Name == name })
		case len(d.errs) == 0:
			l.good = append(l.good, dev)
			l.docs[name] = doc
		}
		l.errs = append(l.errs, d.errs...)
	}
}

// device reads one table into what the hub and what the driver knows of it, and
// asks both whether they can live with it.
func (l *loader) device(d *decoder, path []string, t map[string]any) (dev Device) {
	name := path[len(path)-1]
	if !hub.ValidName(name) {
		d.fail(path, fmt.Sprintf("%.80q is no name", name), "1 to 64 of a-z 0-9 _")
		return dev
	}
	driver, isText := t["driver"].(string)
	kind, known := l.kinds[driver]
	if !known {
		// Without the driver it is unknown which keys are right.
		at := append(slices.Clone(path), "driver")
		switch {
		case t["driver"] == nil:
			d.fail(at, "is missing", quoted(l.kinds))
		case !isText:
			d.fail(at, "is "+kindOf(t["driver"]), quoted(l.kinds))
		default:
			d.fail(at, fmt.Sprintf("%.80q is no driver", driver)+nearest(driver, sortedKeys(l.kinds)), quoted(l.kinds))
		}
		return dev
	}
	dev.Kind, dev.Driver = kind, kind.Config()
	d.table(path, t, &dev.Hub, dev.Driver)
	if len(d.errs) > 0 {
		return dev
	}
	dev.Name, dev.File, dev.Line = name, d.doc.file, d.doc.line(path)
	if err := dev.Hub.Validate(); err != nil {
		d.complain(path, err)
	}
	built, err := dev.Build(drivers.Env{Log: slog.New(slog.DiscardHandler), Now: time.Now})
	if err != nil {
		d.complain(path, err)
	}
	if len(d.errs) > 0 {
		return dev
	}
	if err := hub.CheckDevice(built); err != nil {
		d.complain(path, err)
	}
	if built.Driver == nil {
		return dev
	}
	for _, p := range built.Driver.Describe().Points {
		l.points[name] = append(l.points[name], p.ID)
	}
	return dev
}

// Build makes the device for the hub. It starts nothing. env is what all devices have
// in common: its name, folder and log are those of the device.
func (dev *Device) Build(env drivers.Env) (hub.Device, error) {
	if found, is := dev.Driver.(*drivers.FoundConfig); is {
		return hub.Device{Name: dev.Name, Config: dev.Hub, Found: drivers.CandidateKey(dev.Kind.Name, found.Found)}, found.Validate()
	}
	env.Device, env.Dir, env.Log = dev.Name, filepath.Dir(dev.File), env.Log.With("device", dev.Name)
	renew := func() (drivers.Driver, error) { return dev.Kind.New(dev.Driver, env) }
	driver, err := renew()
	if err != nil {
		return hub.Device{}, err
	}
	return hub.Device{Name: dev.Name, Config: dev.Hub, Driver: driver, Renew: renew}, nil
}

// agree asks the kinds of drivers whether their devices can live with each other.
func (l *loader) agree() {
	for _, name := range sortedKeys(l.kinds) {
		kind := l.kinds[name]
		if kind.Agree == nil {
			continue
		}
		configs := map[string]any{}
		for _, dev := range l.good {
			if dev.Kind.Name == name && !dev.Hub.Disabled {
				configs[dev.Name] = dev.Driver
			}
		}
		for dev, err := range kind.Agree(configs) {
			d := decoder{doc: l.docs[dev], device: dev}
			d.complain([]string{"device", dev}, err)
			l.errs = append(l.errs, d.errs...)
			l.good = slices.DeleteFunc(l.good, func(g Device) bool { return g.Name == dev })
		}
	}
}

// devices returns the devices that are in order, by name.
func (l *loader) devices() []Device {
	slices.SortFunc(l.good, func(a, b Device) int { return strings.Compare(a.Name, b.Name) })
	return l.good
}

func quoted(kinds map[string]drivers.Kind) string { return quotedNames(sortedKeys(kinds)) }

func quotedNames(names []string) string {
	names = slices.Clone(names)
	for i, n := range names {
		names[i] = fmt.Sprintf("%q", n)
	}
	return strings.Join(names, ", ")
}
