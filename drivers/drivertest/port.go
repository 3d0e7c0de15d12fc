package drivertest

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// Port is a gateway's port, for drivers whose devices come to it: its Mount is for
// drivers.Env. It is safe for concurrent use.
type Port struct {
	*httptest.Server
	mounted chan struct{} // one token: something has been mounted

	mu       sync.Mutex // guards handlers
	handlers map[string]http.Handler
}

// NewPort opens a port, which is closed when the test ends.
func NewPort(t testing.TB) *Port {
	t.Helper()
	p := &Port{mounted: make(chan struct{}, 1), handlers: map[string]http.Handler{}}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := p.At(r.URL.Path); h != nil {
			h.ServeHTTP(w, r)
			return
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

// At returns what is mounted at a path, nil if nothing is.
func (p *Port) At(path string) http.Handler {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.handlers[path]
}

// Mount is what drivers.Env.Mount has to be.
func (p *Port) Mount(path string, h http.Handler) (unmount func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.handlers[path] != nil {
		return nil, errors.New("path " + path + " is in use")
	}
	p.handlers[path] = h
	select {
	case p.mounted <- struct{}{}:
	default:
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.handlers, path)
	}, nil
}

// Wait returns when something has been mounted since it was called last.
func (p *Port) Wait(t testing.TB) {
	t.Helper()
	select {
	case <-p.mounted:
	case <-time.After(Patience):
		t.Fatalf("nothing was mounted in %v", Patience)
	}
}
