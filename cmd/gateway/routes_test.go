package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestRoutesOfDevices(t *testing.T) {
	t.Parallel()
	r := newRoutes([]string{"https://app.example"})
	ask := func(path, origin string) int {
		w := httptest.NewRecorder()
		req := httptest.NewRequest("POST", "http://gw:8080"+path, nil)
		if origin != "" {
			req.Header.Set("Origin", origin)
		}
		r.ServeHTTP(w, req)
		return w.Code
	}
	if _, err := r.mount("/metrics", http.NotFoundHandler()); err == nil {
		t.Error("a path of the gateway's own was given away")
	}
	teapot := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	unmount, err := r.mount("/hook/a", teapot)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.mount("/hook/a", teapot); err == nil {
		t.Error("a path was given away twice")
	}
	for _, tt := range []struct {
		path, origin string
		want         int
	}{
		{"/hook/a", "", http.StatusTeapot},
		{"/hook/a", "http://gw:8080", http.StatusTeapot},
		{"/hook/a", "https://app.example", http.StatusTeapot},
		{"/hook/a", "https://elsewhere.example", http.StatusForbidden},
		{"/hook/a/", "", http.StatusNotFound},
		{"/hook/b", "", http.StatusNotFound},
	} {
		if got := ask(tt.path, tt.origin); got != tt.want {
			t.Errorf("%s from %q: %d, want %d", tt.path, tt.origin, got, tt.want)
		}
	}
	unmount()
	if got := ask("/hook/a", ""); got != http.StatusServiceUnavailable {
		t.Errorf("while the device does not run: %d", got)
	}
	if _, err := r.mount("/hook/a", teapot); err != nil {
		t.Error(err)
	}
}
