package websocket

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
)

// What the library offers and answers, whatever the other side has asked for. The
// wire puts in its place what is meant.
const (
	libraryDeflates = deflateName + "; server_no_context_takeover; client_no_context_takeover"
	deflateOffer    = libraryDeflates + "; client_max_window_bits"
)

// opening passes the handshake on, with the right words about compression: a
// client can keep to a smaller window, a server has agreed to what it has.
func (w *wire) opening(b []byte) (int, error) {
	words := deflateOffer
	if w.server {
		words = w.agreed
	}
	if i := bytes.Index(b, []byte(libraryDeflates)); i >= 0 && words != libraryDeflates {
		edited := append(append(bytes.Clone(b[:i]), words...), b[i+len(libraryDeflates):]...)
		if n, err := w.Conn.Write(edited); err != nil {
			return min(n, len(b)), err
		}
		return len(b), nil
	}
	return w.Conn.Write(b)
}

// maxResponse is how long the headers of a server's answer may be.
const maxResponse = 64 << 10

var errLongResponse = errors.New("websocket: the headers of the server's answer are longer than 64 KiB")

// response reads the server's answer up to its body.
func (w *wire) response() error {
	const end = "\r\n\r\n"
	buf := make([]byte, 0, 1024)
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := w.Conn.Read(buf[len(buf):cap(buf)])
		from := max(0, len(buf)-len(end))
		buf = buf[:len(buf)+n]
		i := bytes.Index(buf[from:], []byte(end))
		switch {
		case i >= 0:
			w.answered(buf[:from+i+len(end)], buf[from+i+len(end):])
			return nil
		case err != nil:
			w.early, w.wrong = buf, err
			w.seen.state = inUnknown
			return nil
		case len(buf) > maxResponse:
			return errLongResponse
		}
	}
}

// answered takes note of a server's answer and of what has come with it.
func (w *wire) answered(head, rest []byte) {
	w.seen.state = inUnknown
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 101")) {
		w.early = append(head, rest...)
		return
	}
	w.seen.state = inFrames
	good, wrong := w.seen.feed(rest)
	w.early, w.wrong = append(w.agree(head), rest[:good]...), wrong
}

// agree replaces an answer about compression that fits the offer by the only one
// that the library takes, and keeps the true one.
func (w *wire) agree(head []byte) []byte {
	lines := strings.SplitAfter(string(head), "\r\n")
	found := -1
	for i, line := range lines {
		name, value, _ := strings.Cut(line, ":")
		if http.CanonicalHeaderKey(strings.TrimSpace(name)) != extensions {
			continue
		}
		if found >= 0 || !agreeable(value) {
			return head
		}
		found, w.agreed = i, strings.TrimSpace(value)
	}
	if found < 0 {
		return head
	}
	lines[found] = extensions + ": " + libraryDeflates + "\r\n"
	return []byte(strings.Join(lines, ""))
}
