package http

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"gantry/drivers"
	"gantry/drivers/internal/text"
)

// device is the other side of requests during one run.
type device struct {
	base    string
	header  nethttp.Header
	polls   nethttp.Client // which follows redirects within the device
	acts    nethttp.Client // which does not: what changes something happens where it was meant to
	maxBody int64
	now     func() time.Time

	mu       sync.Mutex // guards what follows
	until    time.Time  // the device wants no requests before
	losses   int        // requests in a row to which there was no answer
	lost     chan struct{}
	isLost   bool
	memories map[*command]*memory
}

// memory is the last answer to a request that the device can be asked about.
type memory struct {
	etag, modified string
	answer         answer
}

// answer is what the device has answered.
type answer struct {
	status int
	body   []byte
}

const (
	// maxLosses is after how many requests in a row without an answer the device counts as lost.
	maxLosses = 3
	// maxRetryAfter bounds how long a device may ask to be left alone.
	maxRetryAfter = 5 * time.Minute
	maxRedirects  = 5
	maxHeader     = 32 << 10
	excerpt       = 128 // bytes of an answer in a message
)

var errRedirect = errors.New("the device redirects to another host or scheme, or without end; set url to where it leads")

func newDevice(p *plan, header nethttp.Header, transport *nethttp.Transport, now func() time.Time) *device {
	d := &device{base: p.base, header: header, maxBody: p.maxBody, now: now, lost: make(chan struct{}), memories: map[*command]*memory{}}
	d.polls = nethttp.Client{Transport: transport, CheckRedirect: within}
	once := transport.Clone()
	once.DisableKeepAlives = true // what fails on a connection that was used before is sent again by the library
	d.acts = nethttp.Client{Transport: once, CheckRedirect: func(*nethttp.Request, []*nethttp.Request) error { return nethttp.ErrUseLastResponse }}
	return d
}

// within keeps a poll at the device.
func within(r *nethttp.Request, via []*nethttp.Request) error {
	if r.URL.Host != via[0].URL.Host || r.URL.Scheme != via[0].URL.Scheme || len(via) > maxRedirects {
		return errRedirect
	}
	return nil
}

// build makes the request that c is with values.
func (d *device) build(ctx context.Context, c *command, values map[string]string) (*nethttp.Request, error) {
	path := c.path.FillBy(values, url.PathEscape)
	for name, v := range values {
		if (v == "." || v == "..") && c.path.Uses(name) {
			return nil, fmt.Errorf("%w: %s would leave the path", drivers.ErrRefused, name)
		}
	}
	target := d.base + path
	if c.query != nil {
		target += "?" + c.query.FillBy(values, url.QueryEscape)
	}
	var body io.Reader
	if c.body != nil {
		b := c.body.Fill(values)
		if media, _, _ := strings.Cut(c.contentType, ";"); media == typeForm {
			b = []byte(c.body.FillBy(values, url.QueryEscape))
		}
		body = bytes.NewReader(b)
	}
	r, err := nethttp.NewRequestWithContext(ctx, c.method, target, body)
	if err != nil {
		return nil, err
	}
	r.Header = d.header.Clone()
	if c.body != nil {
		r.Header.Set("Content-Type", c.contentType)
	}
	return r, nil
}

// ask makes a request and returns the answer to it, whose status is 2xx. Errors match
// those of package drivers.
func (d *device) ask(ctx context.Context, c *command, values map[string]string) (answer, error) {
	if err := d.rest(); err != nil {
		return answer{}, err
	}
	r, err := d.build(ctx, c, values)
	if err != nil {
		return answer{}, err
	}
	client, known := &d.acts, (*memory)(nil)
	if c.poll {
		client, known = &d.polls, d.memory(c)
	}
	if known != nil {
		known.ask(r.Header)
	}
	resp, err := client.Do(r)
	if err != nil {
		return answer{}, d.unanswered(ctx, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, d.maxBody+1))
	if err != nil {
		return answer{}, d.unanswered(ctx, err)
	}
	d.answered()
	if int64(len(body)) > d.maxBody {
		return answer{}, fmt.Errorf("an answer of more than max_body = %d bytes", d.maxBody)
	}
	if resp.StatusCode == nethttp.StatusNotModified && known != nil {
		return known.answer, nil
	}
	a := answer{resp.StatusCode, body}
	if err := d.refusal(resp, body); err != nil {
		return a, err
	}
	if c.expect != nil && !c.expect.Match(body) {
		return a, fmt.Errorf("%w: the answer is not as expected: %s", drivers.ErrRefused, clip(body))
	}
	d.remember(c, resp, a)
	return a, nil
}

// rest returns why the device is not asked now, if it is not.
func (d *device) rest() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if left := d.until.Sub(d.now()); left > 0 {
		return fmt.Errorf("%w: it wants no requests for another %v", drivers.ErrBusy, left.Round(time.Second))
	}
	return nil
}

func (d *device) memory(c *command) *memory {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.memories[c]
}

// remember keeps an answer that the device has given a name or a time.
func (d *device) remember(c *command, resp *nethttp.Response, a answer) {
	m := &memory{etag: resp.Header.Get("ETag"), modified: resp.Header.Get("Last-Modified"), answer: a}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.memories, c)
	if c.poll && c.method == nethttp.MethodGet && (m.etag != "" || m.modified != "") {
		d.memories[c] = m
	}
}

// ask makes a request conditional (RFC 9110, 13.1).
func (m *memory) ask(h nethttp.Header) {
	if m.etag != "" {
		h.Set("If-None-Match", m.etag)
		return
	}
	h.Set("If-Modified-Since", m.modified)
}

func (d *device) answered() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.losses = 0
}

// unanswered returns the error of a request to which there was no answer.
func (d *device) unanswered(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	if errors.Is(err, errRedirect) {
		return fmt.Errorf("%w: %w", drivers.ErrRefused, errRedirect)
	}
	// Before the loss is told, which ends the run and ctx with it.
	late := ctx.Err() != nil
	d.mu.Lock()
	if d.losses++; d.losses >= maxLosses && !d.isLost {
		d.isLost = true
		close(d.lost)
	}
	d.mu.Unlock()
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // without the URL, whose query may hold what is nobody's business
	}
	var op net.Error
	if late || errors.As(err, &op) && op.Timeout() {
		return fmt.Errorf("%w: %v", drivers.ErrTimeout, err)
	}
	return fmt.Errorf("%w: %w", drivers.ErrOffline, err)
}

// refusal returns the error that an answer is; nil for 2xx.
func (d *device) refusal(resp *nethttp.Response, body []byte) error {
	says := fmt.Sprintf("status %d %s: %s", resp.StatusCode, nethttp.StatusText(resp.StatusCode), clip(body))
	switch s := resp.StatusCode; {
	case s >= 200 && s < 300:
		return nil
	case s == nethttp.StatusTooManyRequests || s == nethttp.StatusServiceUnavailable:
		d.leaveAlone(resp.Header.Get("Retry-After"))
		return fmt.Errorf("%w: %s", drivers.ErrBusy, says)
	case s == nethttp.StatusRequestTimeout || s == nethttp.StatusGatewayTimeout:
		return fmt.Errorf("%w: %s", drivers.ErrTimeout, says)
	case s == nethttp.StatusBadGateway:
		return fmt.Errorf("%w: %s", drivers.ErrOffline, says)
	case s == nethttp.StatusUnauthorized || s == nethttp.StatusForbidden:
		return fmt.Errorf("%w: %s; look at user and password, or token", drivers.ErrRefused, says)
	case s < 500:
		return fmt.Errorf("%w: %s", drivers.ErrRefused, says)
	}
	return errors.New(says)
}

// leaveAlone heeds Retry-After (RFC 9110, 10.2.3).
func (d *device) leaveAlone(after string) {
	wait := time.Duration(0)
	now := d.now()
	if n, err := strconv.ParseUint(after, 10, 32); err == nil {
		wait = time.Duration(n) * time.Second
	} else if at, err := nethttp.ParseTime(after); err == nil {
		wait = at.Sub(now)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.until = now.Add(min(max(wait, 0), maxRetryAfter))
}

// clip returns the beginning of an answer for a message.
func clip(b []byte) string {
	return fmt.Sprintf("%q", b[:min(len(b), excerpt)])
}

// take returns what an answer says about the points of a source, or why it does not.
func (s *source) take(a answer) (fields []text.Field, why string) {
	if s.parser == nil {
		return nil, ""
	}
	fields = make([]text.Field, len(s.fields))
	why = s.parser.Parse(a.body, fields)
	return fields, why
}

// reading returns what an answer says about p.
func (p *point) reading(a answer, fields []text.Field, why string, now time.Time) drivers.Reading {
	r := drivers.Reading{Point: p.id, Time: now}
	switch {
	case p.status && p.form.Type == drivers.Bool:
		r.Value = a.status >= 200 && a.status < 300
	case p.status:
		r.Value = int64(a.status)
	case p.slot < 0:
		r.Value, r.Why = p.form.Read(text.Field{Kind: text.Words, Text: strings.TrimSpace(string(a.body))})
	case why != "":
		r.Why = why
	case fields[p.slot].Kind == text.Absent:
		r.Why = text.WhyField
	default:
		r.Value, r.Why = p.form.Read(fields[p.slot])
	}
	if r.Why != "" {
		r.Value, r.Quality = nil, drivers.Bad
	}
	return r
}
