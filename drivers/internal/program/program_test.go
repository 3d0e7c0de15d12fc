package program_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gantry/drivers"
	"gantry/drivers/internal/program"
	"gantry/internal/launch"
)

func TestMain(m *testing.M) {
	launch.Main(os.Args)
	goleak.VerifyTestMain(m)
}

func TestLimitsAreChecked(t *testing.T) {
	t.Parallel()
	for key, c := range map[string]program.LimitsConfig{
		"limits.memory_bytes": {Memory: 5}, "limits.cpu_time": {CPUTime: drivers.Duration(1500 * time.Millisecond)},
		"limits.open_files": {OpenFiles: 2}, "limits.nice": {Nice: 20},
	} {
		_, err := c.Limits("limits")
		var ce *drivers.ConfigError
		if !errors.As(err, &ce) || ce.Key != key || ce.Allowed == "" {
			t.Errorf("%s: %v", key, err)
		}
	}
	c := program.LimitsConfig{Memory: 64 << 20, CPUTime: drivers.Duration(time.Minute), OpenFiles: 64, Processes: 10, FileSize: 1000, Nice: 5}
	got, err := c.Limits("limits")
	want := launch.Limits{Memory: 64 << 20, CPUTime: time.Minute, OpenFiles: 64, Processes: 10, FileSize: 1000, Nice: 5}
	if err != nil || *got != want {
		t.Errorf("%+v, %v", got, err)
	}
}

// What a program says goes to the log; how it ends is the error.
func TestServe(t *testing.T) {
	t.Parallel()
	p := program.Program{Command: []string{"/bin/sh", "-c", "echo $A; exit 4"}, Dir: "/", Env: []string{"A=said"}, Limits: &launch.Limits{}}
	var said strings.Builder
	started := make(chan error, 1)
	err := p.Serve(t.Context(), nil, nil, &said, started)
	if serr := <-started; serr != nil || !errors.Is(err, drivers.ErrOffline) || !strings.Contains(err.Error(), "exit status 4") || said.String() != "said\n" {
		t.Errorf("%v, %v, %q", serr, err, said.String())
	}
}
