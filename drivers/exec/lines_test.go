package exec

import (
	"bytes"
	"testing"
	"time"

	"gantry/drivers"
	"gantry/drivers/drivertest"
)

// Whatever the program prints, readings are of the point's type, or bad with a reason.
func FuzzLines(f *testing.F) {
	f.Add([]byte("{\"point\":\"t\",\"value\":21.5,\"ts\":1}\n{\"up\":true}\n"))
	f.Add([]byte("{\"id\":1,\"result\":{}}\n{\"id\":1,\"progress\":1}\n{\"id\":18446744073709551615,\"error\":\"busy\"}\n"))
	f.Add([]byte("{\"point\":\"t\",\"value\":[[[1]]],\"quality\":\"uncertain\"}\n\n[]\n{\"point\":\"t\",\"value\":null}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := newPlan(&Config{Mode: modeChild, Command: []string{"x"}, Points: map[string]PointConfig{"t": {}}}, drivers.Env{})
		if err != nil {
			t.Fatal(err)
		}
		d := newChild(p, drivers.Env{Now: time.Now})
		link := &drivertest.Link{}
		r := &childRun{waiting: map[uint64]chan said{1: make(chan said, 1)}}
		_ = d.listen(r, bytes.NewReader(b), link)
		for _, x := range link.Readings() {
			if _, number := x.Value.(float64); number != (x.Quality <= drivers.Uncertain) || (x.Why == "") != (x.Quality == drivers.Good) {
				t.Fatalf("%+v", x)
			}
		}
	})
}
