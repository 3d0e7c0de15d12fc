package http_test

import (
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"gantry/drivers"
	"gantry/drivers/drivertest"
	driver "gantry/drivers/http"
)

// fixed is a secret that is known.
type fixed string

func (f fixed) Reveal() (string, error) { return string(f), nil }

// Whatever a device that is known posts, readings are of the point's type, or bad with
// a reason, and the answer is no surprise.
func FuzzPosts(f *testing.F) {
	f.Add(`{"env":{"t":21.5},"door":true}`, "", false)
	f.Add(`{"env":{"t":1e400},"door":"on"}`, "", false)
	f.Add("env.t=1&door=off", "env.t=%20&key=x", true)
	f.Add("[[[[", "%zz", true)
	f.Fuzz(func(t *testing.T, body, query string, form bool) {
		cfg := parse(t, strings.ReplaceAll(hookText, "SECRET", "env:NONE"), "")
		cfg.Hook.Secret = fixed(secret)
		if form {
			cfg.Hook.Form, cfg.Hook.Parse.JSON = true, false
		}
		p := newPort(t)
		d, err := driver.New(cfg, drivers.Env{Device: "dev", Mount: p.Mount})
		if err != nil {
			t.Fatal(err)
		}
		link := drivertest.Start(t, d)
		p.Wait(t)
		w := httptest.NewRecorder()
		r := httptest.NewRequest("POST", "/hook/dev", strings.NewReader(body))
		r.URL = &url.URL{Path: "/hook/dev", RawQuery: query}
		r.Header.Set("Authorization", "Bearer "+secret)
		p.At("/hook/dev").ServeHTTP(w, r)
		good := 0
		for _, x := range link.Readings() {
			_, number := x.Value.(float64)
			_, boolean := x.Value.(bool)
			if (number || boolean) != (x.Quality == drivers.Good) || (x.Why == "") != (x.Quality == drivers.Good) ||
				number && x.Point != "t" || boolean && x.Point != "door" {
				t.Fatalf("%+v", x)
			}
			if x.Quality == drivers.Good {
				good++
			}
		}
		if ok := w.Code == 200; ok && (good == 0 || good != len(link.Readings())) || !ok && w.Code != 400 && w.Code != 422 && w.Code != 413 {
			t.Fatalf("%d %s, readings %+v", w.Code, w.Body, link.Readings())
		}
	})
}
