package dialog_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"gantry/drivers"
	"gantry/drivers/internal/dialog"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// conn keeps what is sent.
type conn struct{ sent []string }

func (c *conn) Write(_ context.Context, p []byte) error {
	c.sent = append(c.sent, string(p))
	return nil
}

func (c *conn) DropOutput() { c.sent = append(c.sent, "drop") }

func ok(b []byte) (string, bool) { return string(b), string(b) != "reading" }

type result struct {
	answer string
	err    error
}

func ask(ctx context.Context, s *dialog.Session[string], out string) chan result {
	c := make(chan result, 1)
	go func() {
		a, err := s.Exchange(ctx, []byte(out), time.Second, ok)
		c <- result{a, err}
	}()
	synctest.Wait()
	return c
}

func TestAnswersFindTheirCommands(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &conn{}
		s := dialog.New[string](c)
		first := ask(t.Context(), s, "1")
		if len(c.sent) != 0 {
			t.Error("sent before the device was ready")
		}
		s.Open()
		synctest.Wait()
		second := ask(t.Context(), s, "2")
		if s.Take([]byte("reading")) || !s.Take([]byte("a")) {
			t.Error("a reading was taken for an answer, or an answer for none")
		}
		if r := <-first; r.answer != "a" || r.err != nil {
			t.Errorf("%+v", r)
		}
		synctest.Wait()
		s.Take([]byte("b"))
		if r := <-second; r.answer != "b" || r.err != nil {
			t.Errorf("%+v", r)
		}
		if s.Take([]byte("c")) {
			t.Error("nobody waits")
		}
		s.End()
		if _, err := s.Exchange(t.Context(), nil, time.Second, nil); !errors.Is(err, drivers.ErrOffline) {
			t.Errorf("%v", err)
		}
	})
}

func TestLateAnswerIsNotTakenForTheNext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &conn{}
		s := dialog.New[string](c)
		s.Open()
		begin := time.Now()
		if r := <-ask(t.Context(), s, "1"); !errors.Is(r.err, drivers.ErrTimeout) {
			t.Errorf("%+v", r)
		}
		second := ask(t.Context(), s, "2")
		if len(c.sent) != 2 {
			t.Errorf("sent %q while the answer to the first was still possible", c.sent)
		}
		s.Take([]byte("late"))
		synctest.Wait()
		s.Take([]byte("b"))
		if r := <-second; r.answer != "b" {
			t.Errorf("%+v", r)
		}
		// None comes: the third goes out when it cannot come any more.
		<-ask(t.Context(), s, "3")
		short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if r := <-ask(short, s, "4"); !errors.Is(r.err, drivers.ErrBusy) {
			t.Errorf("%+v", r)
		}
		fifth := ask(t.Context(), s, "5")
		time.Sleep(time.Second)
		synctest.Wait()
		s.End()
		if r := <-fifth; !errors.Is(r.err, drivers.ErrOffline) || time.Since(begin) > 4*time.Second {
			t.Errorf("%+v after %v", r, time.Since(begin))
		}
	})
}
