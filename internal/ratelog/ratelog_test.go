package ratelog_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"gantry/internal/ratelog"
)

func TestOneLineOfEachTextInAWhile(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	now := time.Unix(1000, 0)
	l := ratelog.New(slog.New(slog.NewTextHandler(&out, nil)), time.Second, func() time.Time { return now })
	lines := func() int { return strings.Count(out.String(), "\n") }
	for range 1000 {
		l.Warn("refused", "from", "x")
		l.Info("lost")
	}
	if lines() != 2 || strings.Contains(out.String(), "unlogged") {
		t.Fatalf("a thousand of two kinds at once:\n%s", out.String())
	}
	now = now.Add(time.Second)
	l.Warn("refused", "from", "x")
	if lines() != 3 || !strings.Contains(out.String(), "from=x unlogged=999") {
		t.Errorf("the next one does not tell how many were left out:\n%s", out.String())
	}
	now = now.Add(time.Second)
	l.Warn("refused", "from", "y")
	if lines() != 4 || strings.Contains(out.String(), "from=y unlogged") {
		t.Errorf("none was left out before the last one:\n%s", out.String())
	}
	now = time.Unix(0, 0)
	l.Warn("refused", "from", "z")
	if lines() != 5 {
		t.Errorf("a clock that was set back silences it:\n%s", out.String())
	}
}

func TestALevelThatIsNotWrittenCountsForNothing(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	level := &slog.LevelVar{}
	level.Set(slog.LevelWarn)
	l := ratelog.New(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level})), time.Minute, nil)
	l.Info("refused")
	level.Set(slog.LevelInfo)
	l.Info("refused")
	if !strings.Contains(out.String(), "refused") {
		t.Error("a line that was below the level silences the next one")
	}
	var none *ratelog.Log
	none.Warn("nobody listens")
}
