package config

import (
	"fmt"
	"slices"
	"strings"
)

// interlocks checks that the points of other devices which may not be on together
// with one exist: the hub refuses to switch on what waits for a point that nobody
// has. Where the other device is there but not in order, only its own errors count.
func (l *loader) interlocks() {
	for _, dev := range slices.Clone(l.good) {
		d := decoder{doc: l.docs[dev.Name], device: dev.Name}
		for _, id := range sortedKeys(dev.Hub.Point) {
			for _, rival := range dev.Hub.Point[id].Limit.NotWith {
				at := []string{"device", dev.Name, "point", id, "limit", "not_with"}
				other, point, two := strings.Cut(rival, ".")
				_, defined := l.seen[other]
				points, good := l.points[other]
				switch {
				case !two:
				case !defined:
					d.fail(at, fmt.Sprintf("there is no device %.64q", other)+nearest(other, sortedKeys(l.seen)), `"point" or "device.point" of the configuration`)
				case good && !slices.Contains(points, point):
					d.fail(at, fmt.Sprintf("device %s has no point %.64q", other, point)+nearest(point, points), strings.Join(points, ", "))
				}
			}
		}
		if len(d.errs) > 0 {
			l.errs = append(l.errs, d.errs...)
			l.good = slices.DeleteFunc(l.good, func(g Device) bool { return g.Name == dev.Name })
		}
	}
}
