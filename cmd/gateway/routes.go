package main

import (
	"fmt"
	"net/http"
	"strings"
	"sync"

	"gantry/wamp/websocket"
)

// Where devices come to: by requests, and by WebSocket.
const (
	hookPath = "/hook/"
	devPath  = "/dev/"
)

// routes are the paths on the gateway's port that devices have asked for.
type routes struct {
	origins []string // of web pages that may come besides those of the port itself

	mu     sync.RWMutex            // guards byPath
	byPath map[string]http.Handler // nil: of a device that does not run now
}

func newRoutes(origins []string) *routes {
	return &routes{origins: origins, byPath: map[string]http.Handler{}}
}

// mount is drivers.Env.Mount.
func (r *routes) mount(path string, h http.Handler) (unmount func(), err error) {
	if !strings.HasPrefix(path, hookPath) && !strings.HasPrefix(path, devPath) {
		return nil, fmt.Errorf("path %s is not for devices", path)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byPath[path] != nil {
		return nil, fmt.Errorf("path %s is in use", path)
	}
	r.byPath[path] = h
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.byPath[path] = nil
	}, nil
}

// ServeHTTP hands a request to the device that it is for. The server has checked its
// host.
func (r *routes) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.RLock()
	h, known := r.byPath[req.URL.Path]
	r.mu.RUnlock()
	switch {
	case !websocket.AllowOrigin(req, r.origins):
		plain(w, http.StatusForbidden, "origin is not allowed\n")
	case !known:
		plain(w, http.StatusNotFound, "no such device\n")
	case h == nil:
		w.Header().Set("Retry-After", "1")
		plain(w, http.StatusServiceUnavailable, "the device is being started; try again\n")
	default:
		h.ServeHTTP(w, req)
	}
}
