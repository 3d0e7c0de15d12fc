package transport_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gantry/wamp"
	"gantry/wamp/serialize"
	"gantry/wamp/transport"
	"gantry/wamp/wamptest"
)

// script is a long-poll server that answers each kind of request in its own way;
// nil agrees and says nothing.
type script map[string]http.HandlerFunc

// url serves the script.
func (s script) url(t *testing.T) string {
	hs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		verb := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
		if f := s[verb]; f != nil {
			f(w, r)
			return
		}
		if verb == "open" {
			_, _ = io.WriteString(w, `{"protocol": "wamp.2.json.batched", "transport": "a b/c"}`)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(hs.Close)
	return "lp" + strings.TrimPrefix(hs.URL, "http") + "/base"
}

// answer answers with a status and a body.
func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

var jsonOnly = transport.DialConfig{Options: hasty, Formats: []wamp.Format{wamp.JSON}}

func TestLongPollDialTellsWhatWasAnswered(t *testing.T) {
	t.Parallel()
	for _, open := range []http.HandlerFunc{
		answer(404, "not here\nmore"), answer(302, ""), answer(204, ""), answer(200, ""), answer(200, "{}"), answer(200, "<html>"),
		answer(200, `{"protocol": "wamp.2.cbor", "transport": "x"}`), answer(200, `{"protocol": "wamp.2.json", "transport": ""}`),
		answer(200, `{"protocol": "wamp.2.json", "transport": 1}`), answer(200, `{"protocol": "wamp.2.json", "transport": "`+strings.Repeat("x", 300)+`"}`),
		answer(200, strings.Repeat(" ", 10_000)+`{"protocol": "wamp.2.json", "transport": "x"}`),
	} {
		p, err := transport.Dial(t.Context(), script{"open": open}.url(t), jsonOnly)
		var refusal *transport.LongPollError
		if !errors.As(err, &refusal) {
			t.Errorf("error is %v", err)
		}
		if p != nil {
			_ = p.Close()
		}
	}
	if _, err := transport.Dial(t.Context(), "lp://"+answering(t, "\x7f\xf1\x00\x00"), jsonOnly); err == nil {
		t.Error("a port without HTTP was dialled")
	}
}

func TestLongPollClientEndsWithWhatTheServerSays(t *testing.T) {
	t.Parallel()
	violation := func(err error) bool { return errors.As(err, new(*wamp.ProtocolError)) }
	refusal := func(err error) bool { return errors.As(err, new(*transport.LongPollError)) }
	eof := func(err error) bool { return err == io.EOF }
	cut := func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }
	for name, c := range map[string]struct {
		receive http.HandlerFunc
		want    func(error) bool
	}{
		"gone":            {answer(410, ""), eof},
		"unknown":         {answer(404, ""), refusal},
		"overtaken":       {answer(409, ""), refusal},
		"broken batch":    {answer(200, "[34,1,2]"), violation},
		"broken message":  {answer(200, "x\x1e"), violation},
		"over the limit":  {answer(200, strings.Repeat("x", 4<<20)), violation},
		"too long a body": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.Copy(w, io.LimitReader(endlessX{}, 1<<30)) }, violation},
		"cut body": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "[34,1,2]\x1e")
		}, cut},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := transport.Dial(t.Context(), script{"receive": c.receive}.url(t), jsonOnly)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = p.Close() }()
			m, err := p.Recv()
			if !c.want(err) {
				t.Errorf("received %v, %v", m, err)
			}
		})
	}
}

func TestLongPollClientEndsWhenASendIsRefused(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	wait := func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
		w.WriteHeader(http.StatusNoContent)
	}
	p, err := transport.Dial(t.Context(), script{"receive": wait, "send": answer(400, "no message")}.url(t), jsonOnly)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { close(release); _ = p.Close() }()
	if err := p.TrySend(&wamp.Published{Request: 1, Publication: 1}); err != nil {
		t.Fatal(err)
	}
	_, err = p.Recv()
	var refusal *transport.LongPollError
	if !errors.As(err, &refusal) || refusal.Request != "send" || refusal.Status != 400 || refusal.Text != "no message" {
		t.Errorf("the receiver gets %v", err)
	}
	if err := p.TrySend(&wamp.Published{Request: 1, Publication: 1}); !errors.Is(err, wamp.ErrClosed) {
		t.Errorf("the next send: %v", err)
	}
}

// A server that answers at once must not make the client spin.
func TestLongPollClientPausesWithAServerThatDoesNotWait(t *testing.T) {
	t.Parallel()
	var n atomic.Int32
	began := time.Now()
	p, err := transport.Dial(t.Context(), script{"receive": func(w http.ResponseWriter, _ *http.Request) {
		if n.Add(1) == 4 {
			w.WriteHeader(http.StatusGone)
		}
	}}.url(t), jsonOnly)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	if _, err := p.Recv(); err != io.EOF || time.Since(began) < 200*time.Millisecond {
		t.Errorf("%d requests in %v, then %v", n.Load(), time.Since(began), err)
	}
}

// Long-poll keeps its messages in the frames of RawSocket, whichever of the two
// makes them.
func TestLongPollSharesFramesWithRawSocket(t *testing.T) {
	t.Parallel()
	s := serve(t, "tcp", transport.ServerConfig{Options: hasty}, nil)
	for _, size := range []int{10, 3000, 100_000} {
		for _, f := range []wamp.Format{wamp.JSON, wamp.MsgPack, wamp.CBOR} {
			for _, first := range []string{"rawsocket", "longpoll"} {
				shared := &wamp.Shared{Msg: &wamp.Event{Subscription: 1, Publication: 2, Payload: wamp.Args(strings.Repeat("x", size))}}
				for _, tr := range []string{first, "rawsocket", "longpoll"} {
					p, router := s.dial(t, wamptest.Link{Transport: tr, Format: f}, hasty)
					if err := errors.Join(router.TrySend(shared), router.TrySend(shared)); err != nil {
						t.Fatal(err)
					}
					for range 2 {
						m, err := p.Recv()
						if err != nil {
							t.Fatal(err)
						}
						var got string
						if err := serialize.Arg(m.(*wamp.Event).Payload, 0, &got); err != nil || len(got) != size {
							t.Fatalf("%s, %s: %d characters of %d, %v", tr, f, len(got), size, err)
						}
					}
					go func() { _ = router.Close() }()
					_ = p.Close()
				}
			}
		}
	}
}

// FuzzLongPoll sends any body in any request of a session.
func FuzzLongPoll(f *testing.F) {
	all := protocols()
	names := []string{}
	for _, format := range []wamp.Format{wamp.JSON, wamp.MsgPack, wamp.CBOR} {
		names = append(names, transport.Subprotocol(format), transport.BatchedSubprotocol(format))
	}
	for i, protocol := range names {
		m := map[wamp.Format]string{wamp.JSON: "[34,7,8]", wamp.MsgPack: "\x93\x22\x07\x08", wamp.CBOR: "\x83\x18\x22\x07\x08"}[all[protocol]]
		for _, b := range []string{"", m, m + m, m + "\x1e", m + "\x18" + m + "\x18", "\x00\x00\x00\x04" + m, "\x00\x00\x00\x05" + m + "\x00", "\xff\xff\xff\xff"} {
			f.Add(uint8(i), []byte(b))
		}
	}
	opts := transport.Options{MaxMessage: 4096, Linger: time.Millisecond}
	s := serve(f, "tcp", transport.ServerConfig{Options: opts}, echo)
	f.Fuzz(func(t *testing.T, which uint8, body []byte) {
		p := newPoller(t, s)
		if status, b := p.post("open", body); status != 400 && status != 200 {
			t.Fatalf("open was answered by %d, %s", status, b)
		}
		protocol := names[int(which)%len(names)]
		p = p.open(protocol)
		status, b := p.post("send", body)
		switch status {
		case http.StatusNoContent:
			// All of it was understood, so it comes back as it was understood.
			back := p.receive()
			if len(back) == 0 || len(back) > 4*len(body)+16 {
				t.Fatalf("%q came back as %q", body, back)
			}
			if status, b := p.post("close", nil); status != http.StatusNoContent && status != http.StatusNotFound {
				t.Fatalf("close was answered by %d, %s", status, b)
			}
		case http.StatusBadRequest, http.StatusGone:
		default:
			t.Fatalf("%q was answered by %d, %s", body, status, b)
		}
		if status, _ := p.post(string(bytes.ToValidUTF8(bytes.Map(pathRune, body), nil)), nil); status == 0 || status >= 500 {
			t.Fatalf("a request for %q was answered by %d", body, status)
		}
	})
}

// pathRune keeps what a URL may have in its path.
func pathRune(r rune) rune {
	if r > ' ' && r < 0x7f && r != '%' && r != '?' && r != '#' {
		return r
	}
	return -1
}
