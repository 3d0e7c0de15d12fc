package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

const (
	// pollPatience is how long the client waits for the answer to one request:
	// longer than any server keeps a receive request.
	pollPatience = time.Minute
	// pollPause is the least time between two receive requests that bring nothing,
	// for servers that do not wait.
	pollPause = 100 * time.Millisecond
	// pollIdle is how long the client keeps a connection for later requests: less
	// than servers do, so that no request runs into the server's closing.
	pollIdle = 20 * time.Second
	// pollBatch is how much more than a message a client takes in one answer: a
	// server may answer with all that waits.
	pollBatch = DefaultQueue
)

// LongPollError is a request of the long-poll transport that the server has
// refused.
type LongPollError struct {
	Request string // "open", "send" or "receive"
	Status  int    // of the answer, 0 if it was none of long-poll
	Text    string // what the server said, at most its first line
}

// Error returns all of it.
func (e *LongPollError) Error() string {
	if e.Status == 0 {
		return "long-poll " + e.Request + ": " + e.Text
	}
	text := fmt.Sprintf("long-poll %s: answered with status %d", e.Request, e.Status)
	if e.Text != "" {
		text += fmt.Sprintf(" (%q)", e.Text)
	}
	return text
}

// pollClient is the client's end of a long-poll connection: Recv makes the receive
// requests, and a goroutine that ends with the queue the send requests.
type pollClient struct {
	outgoing
	opts    *Options
	base    string // URL of the session
	header  http.Header
	jar     http.CookieJar // nil = none
	web     *http.Transport
	decoder *serialize.Decoder
	limit   int // of the body of an answer
	info    wamp.PeerInfo

	// ctx is that of all requests. The connection is nothing but its requests, so
	// this is its life; cancel ends it.
	ctx    context.Context
	cancel context.CancelFunc

	recv   sync.Mutex // guards what follows
	lent   *buffer    // holds the last message
	rest   batch      // of lent
	broken error

	closeOnce sync.Once
	wg        sync.WaitGroup // the one that sends
}

var _ wamp.Peer = (*pollClient)(nil)

// longpoll opens a session at the URL u.
func (d *dialler) longpoll(ctx context.Context, u *url.URL, dial dialFunc) (wamp.Peer, error) {
	c := &pollClient{
		opts:   &d.cfg.Options,
		base:   strings.TrimSuffix(u.String(), "/"),
		header: d.cfg.Header,
		jar:    d.cfg.Jar,
		web: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            dial,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			DisableCompression:     true,
			MaxConnsPerHost:        4,
			IdleConnTimeout:        pollIdle,
			ResponseHeaderTimeout:  pollPatience,
			MaxResponseHeaderBytes: 16 << 10,
		},
	}
	if d.cfg.TLS != nil {
		c.web.TLSClientConfig = d.cfg.TLS.Clone()
	}
	if err := c.open(ctx, d.cfg.Formats); err != nil {
		c.web.CloseIdleConnections()
		return nil, fmt.Errorf("dial %s: %w", u.Redacted(), err)
	}
	return c, nil
}

// open makes the request that opens the session.
func (c *pollClient) open(ctx context.Context, formats []wamp.Format) error {
	names := subprotocols(formats, true)
	body, err := json.Marshal(openRequest{Protocols: names})
	if err != nil {
		return err
	}
	var conn net.Conn
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { conn = i.Conn }})
	resp, err := c.post(traced, "open", "application/json", body)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return refusal("open", resp)
	}
	answer := getBuffer(smallBuffer)
	defer answer.release()
	var a openAnswer
	err = readAll(answer, io.LimitReader(resp.Body, maxOpenBody))
	if err == nil {
		err = json.Unmarshal(answer.b, &a)
	}
	if err != nil || !slices.Contains(names, a.Protocol) || a.Transport == "" || len(a.Transport) > 256 {
		return &LongPollError{Request: "open", Text: "the answer names no transport and one of the protocols " + strings.Join(names, ", ")}
	}
	f, k := c.opts.parseSubprotocol(a.Protocol, formats)
	c.base += "/" + url.PathEscape(a.Transport)
	c.decoder = serialize.NewDecoder(f, c.opts.limits(c.opts.MaxMessage))
	if c.limit = c.opts.MaxMessage; k != unbatched {
		c.limit += pollBatch
	}
	c.info = peerInfo(conn, "longpoll", f, 1<<24)
	c.outgoing.init(c.opts, f, k)
	c.rest.kind = k
	c.notify = func(kick bool) {
		if kick {
			c.wg.Go(c.drain)
		}
	}
	c.ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	return nil
}

// refusal is the error for an answer that is none of those expected.
func refusal(request string, resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
	line, _, _ := strings.Cut(string(text), "\n")
	return &LongPollError{Request: request, Status: resp.StatusCode, Text: line}
}

// post makes one request. The caller closes the body of the answer.
func (c *pollClient) post(ctx context.Context, request, contentType string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/"+request, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for k, v := range c.header {
		req.Header[k] = v
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if c.jar != nil {
		for _, cookie := range c.jar.Cookies(req.URL) {
			req.AddCookie(cookie)
		}
	}
	// Not an http.Client: redirects are refused as any other unexpected status is.
	resp, err := c.web.RoundTrip(req)
	if err == nil && c.jar != nil {
		if cookies := resp.Cookies(); len(cookies) > 0 {
			c.jar.SetCookies(req.URL, cookies)
		}
	}
	return resp, err
}

// Info describes the other end.
func (c *pollClient) Info() wamp.PeerInfo { return c.info }

// drain makes send requests until the queue is empty.
func (c *pollClient) drain() {
	for {
		c.mu.Lock()
		c.landed()
		body := c.next(nil)
		if len(body) == 0 {
			c.writing = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		if err := c.sendBody(body); err != nil {
			c.fail(err)
			return
		}
	}
}

func (c *pollClient) sendBody(body []byte) error {
	ctx, cancel := context.WithTimeout(c.ctx, pollPatience)
	defer cancel()
	resp, err := c.post(ctx, "send", contentType(c.info.Format), body)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	switch resp.StatusCode {
	case http.StatusAccepted, http.StatusNoContent, http.StatusOK:
		_, err = io.CopyN(io.Discard, resp.Body, maxEmptyBody)
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return err
	case http.StatusGone:
		return io.EOF
	}
	return refusal("send", resp)
}

// fail ends the connection for the reason err.
func (c *pollClient) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.die(err)
	c.cancel()
}

// Recv returns the next message. See wamp.Peer.
func (c *pollClient) Recv() (wamp.Message, error) {
	c.recv.Lock()
	defer c.recv.Unlock()
	for {
		if b := c.rest.next(); b != nil {
			return c.decoder.Decode(b)
		}
		if c.broken != nil {
			return nil, c.broken
		}
		if c.lent != nil {
			c.lent.release()
			c.lent = nil
		}
		began := time.Now()
		err := c.fetch()
		if err == nil && len(c.rest.rest) == 0 && time.Since(began) < pollPause {
			c.pause()
		}
		if err == nil {
			continue
		}
		// A connection that is over already has a better reason; one that is not
		// can still say what was wrong with a message.
		if why := c.reason(); why != nil {
			err = why
		} else if !errors.As(err, new(*wamp.ProtocolError)) {
			c.fail(err)
		}
		c.broken = err
	}
}

// pause waits before the next receive request.
func (c *pollClient) pause() {
	t := time.NewTimer(pollPause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.over:
	}
}

// fetch makes a receive request and keeps what it brings.
func (c *pollClient) fetch() error {
	ctx, cancel := context.WithTimeout(c.ctx, pollPatience)
	defer cancel()
	resp, err := c.post(ctx, "receive", "", nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNoContent, http.StatusAccepted:
		return nil
	case http.StatusGone:
		return io.EOF
	default:
		return refusal("receive", resp)
	}
	c.lent = getBuffer(smallBuffer)
	if err := readAll(c.lent, io.LimitReader(resp.Body, int64(c.limit)+1)); err != nil {
		return fmt.Errorf("long-poll receive: %w", err)
	}
	switch body := c.lent.b; {
	case len(body) > c.limit:
		return &wamp.ProtocolError{Text: "long-poll: message is over the limit"}
	case len(body) == 0:
		return nil
	case c.rest.kind == unbatched:
		c.rest.rest = body
		return nil
	default:
		b, err := newBatch(c.rest.kind, body)
		if err != nil {
			return &wamp.ProtocolError{Text: "long-poll: " + err.Error()}
		}
		c.follow(b)
		return nil
	}
}

// follow takes a batch over, and the other side's separator with it.
func (c *pollClient) follow(b batch) {
	c.rest = b
	if c.opts.Separator == 0 {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.outgoing.batching = b.kind
	}
}

// Close flushes the queue and tells the server that the session has ended. See
// wamp.Peer.
func (c *pollClient) Close() error {
	c.closeOnce.Do(func() {
		end := time.Now().Add(c.opts.Linger)
		c.mu.Lock()
		c.closing = true
		flushed, ended := make(chan struct{}), c.err != nil
		c.idle = flushed
		c.settle()
		c.mu.Unlock()
		late := time.NewTimer(time.Until(end))
		select {
		case <-flushed:
		case <-late.C:
		}
		late.Stop()
		if !ended {
			c.sayClose(end)
		}
		c.fail(wamp.ErrClosed)
		c.recv.Lock()
		// Not released: the last message may still be in use.
		c.lent, c.rest, c.broken = nil, batch{}, wamp.ErrClosed
		c.recv.Unlock()
		c.wg.Wait()
		c.web.CloseIdleConnections()
	})
	return nil
}

// sayClose makes the request that ends the session. A server that does not answer
// ends it by itself later.
func (c *pollClient) sayClose(end time.Time) {
	ctx, cancel := context.WithDeadline(c.ctx, end)
	defer cancel()
	resp, err := c.post(ctx, "close", "", nil)
	if err == nil {
		_ = resp.Body.Close()
	}
}
