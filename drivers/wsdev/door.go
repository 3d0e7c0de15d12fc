package wsdev

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"gantry/drivers"
	"gantry/drivers/internal/web"
	"gantry/wamp/websocket"
)

// door lets a device in during one run. Of several connections the newest counts.
type door struct {
	d      *Driver
	keeper web.Doorkeeper
	server websocket.Server
	ring   chan struct{} // one token: there is a newcomer

	mu    sync.Mutex // guards what follows
	open  bool
	newer *websocket.Conn // the newcomer that nobody serves yet; nil if there is none
}

// await lets the device in and serves its connections, one after the other.
func (d *Driver) await(ctx context.Context, link drivers.Link) error {
	if d.env.Mount == nil {
		return errors.New("there is no port that the device could come to; set url to dial it")
	}
	token, err := web.Key("token", d.cfg.Token)
	if err != nil {
		return err
	}
	in := &door{d: d, open: true, ring: make(chan struct{}, 1),
		keeper: web.Doorkeeper{Header: d.cfg.TokenHeader, Query: d.cfg.TokenQuery, Token: token}}
	in.server = websocket.Server{Config: d.socket, Connect: in.check,
		CheckOrigin: func(*http.Request) bool { return true }} // the port has done so
	if d.cfg.Subprotocol != "" {
		in.server.Subprotocols = []string{d.cfg.Subprotocol}
	}
	unmount, err := d.env.Mount("/dev/"+d.env.Device, in)
	if err != nil {
		return err
	}
	defer in.shut()
	defer unmount()
	select {
	case <-in.ring:
	case <-ctx.Done():
		return nil
	}
	up := sync.OnceFunc(func() {
		if ctx.Err() == nil { // it may have come in the meantime
			link.Up()
		}
	})
	for {
		conn := in.next()
		if conn == nil {
			return err
		}
		err = in.serve(ctx, conn, link, up)
	}
}

// check refuses whoever does not have the token.
func (in *door) check(h *websocket.Handshake) error {
	if in.keeper.Knows(h.Request) {
		return nil
	}
	in.d.rare.Warn("device refused: wrong token", "remote", h.Request.RemoteAddr, "hint", "the device and its token must agree")
	return &websocket.Refusal{Status: http.StatusUnauthorized, Header: http.Header{"Www-Authenticate": {"Bearer"}}, Text: "who are you?"}
}

// ServeHTTP lets a connection in.
func (in *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn, err := in.server.Upgrade(w, r)
	if err != nil {
		return // the request has been answered
	}
	in.mu.Lock()
	older, open := in.newer, in.open
	if open {
		in.newer = conn
		select {
		case in.ring <- struct{}{}:
		default: // older has rung
		}
	}
	in.mu.Unlock()
	switch {
	case !open:
		_ = conn.Close(websocket.CloseGoingAway, "the device is being stopped")
	case older != nil:
		_ = older.Close(websocket.CloseGoingAway, "a newer connection has replaced this one")
	}
}

// shut lets nobody in any more.
func (in *door) shut() {
	in.mu.Lock()
	in.open = false
	conn := in.newer
	in.newer = nil
	in.mu.Unlock()
	if conn != nil {
		_ = conn.Close(websocket.CloseGoingAway, "")
	}
}

// next returns the newcomer, nil if there is none.
func (in *door) next() *websocket.Conn {
	in.mu.Lock()
	defer in.mu.Unlock()
	conn := in.newer
	in.newer = nil
	select {
	case <-in.ring:
	default:
	}
	return conn
}

// serve serves a connection until it is gone or the next one comes.
func (in *door) serve(ctx context.Context, conn *websocket.Conn, link drivers.Link, up func()) error {
	ctx, end := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-in.ring:
			in.d.rare.Warn("device has connected again: the older connection is closed", "older", conn.RemoteAddr(), "hint", "if this goes on, two devices have one token")
			end()
		case <-ctx.Done():
		}
	})
	defer watch.Wait()
	defer end()
	return in.d.serve(ctx, conn, link, up)
}
