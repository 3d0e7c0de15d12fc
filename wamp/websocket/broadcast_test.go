package websocket_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"gantry/wamp/websocket"
)

func prepare(t testing.TB, op websocket.Opcode, b string) *websocket.Prepared {
	t.Helper()
	p, err := websocket.Prepare(op, []byte(b))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPreparedMessagesArriveAsTheyAre(t *testing.T) {
	t.Parallel()
	for _, deflate := range []bool{false, true} {
		cfg := websocket.Config{Deflate: deflate, DeflateFrom: 100}
		client, server := both(t, &websocket.Server{Config: cfg}, &websocket.Dialer{Config: cfg})
		for _, n := range []int{0, 5, 125, 126, 1000, 65535, 65536, 200_000} {
			text := fmt.Sprintf("%0*d", n, 7)[:n]
			p := prepare(t, websocket.Text, text)
			for range 2 {
				for _, way := range [][2]*websocket.Conn{{client, server}, {server, client}} {
					sent := make(chan error, 1)
					go func() { sent <- way[0].WritePrepared(p) }()
					op, b, err := way[1].Read()
					if err != nil || op != websocket.Text || string(b) != text {
						t.Fatalf("%d bytes, compressed %v: %d bytes, %v", n, deflate, len(b), err)
					}
					if err := <-sent; err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	}
	if _, err := websocket.Prepare(websocket.Close, nil); !errors.Is(err, websocket.ErrOpcode) {
		t.Error(err)
	}
}

func TestSlowReceiversHoldUpNobody(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		slow websocket.SlowPolicy
		got  string // what the slow one receives in the end
		drop uint64
	}{
		{"drop newest", websocket.DropNewest, "[0 1 2]", 7},
		{"drop oldest", websocket.DropOldest, "[0 8 9]", 7},
		{"disconnect", websocket.Disconnect, "[]", 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := websocket.NewBroadcast(websocket.BroadcastConfig{Queue: 20, Slow: tt.slow})
				ends := make(chan error, 2)
				members := make(chan *websocket.Member, 2)
				s := &websocket.Server{Config: websocket.Config{PingInterval: -1, WriteTimeout: time.Hour}, Handle: func(c *websocket.Conn, r *http.Request) {
					m := b.Join(c)
					members <- m
					_, _, err := c.Read()
					_ = c.Abandon()
					m.Leave()
					ends <- err
				}}
				p := piped(t, s)
				connect := func() (*websocket.Conn, *websocket.Member) {
					c, err := (&websocket.Dialer{Config: websocket.Config{PingInterval: -1}, DialNet: p.dial}).Dial(t.Context(), "ws://pipe")
					if err != nil {
						t.Fatal(err)
					}
					return c, <-members
				}
				slow, member := connect()
				quick, _ := connect()
				for i := range 10 {
					b.Send(prepare(t, websocket.Text, fmt.Sprintf("%d         ", i)))
					_, got, err := quick.Read()
					if err != nil || got[0] != byte('0'+i) {
						t.Fatalf("the quick receiver got %q, %v", got, err)
					}
					synctest.Wait()
				}
				if n := member.Dropped(); n != tt.drop {
					t.Errorf("%d messages dropped, want %d", n, tt.drop)
				}
				got := []string{}
				for range 3 {
					_, m, err := slow.Read()
					if err != nil {
						break
					}
					got = append(got, string(m[:1]))
				}
				if fmt.Sprint(got) != tt.got {
					t.Errorf("the slow receiver got %v, want %v", got, tt.got)
				}
				if tt.slow == websocket.Disconnect {
					if err := <-ends; !errors.Is(err, websocket.ErrSlow) {
						t.Errorf("%v", err)
					}
				}
				want := websocket.BroadcastStats{Members: 2, Sent: 13, Dropped: tt.drop}
				switch tt.slow {
				case websocket.DropOldest:
					want.Sent = 20
				case websocket.Disconnect:
					want.Members, want.Disconnected = 1, 1
				}
				if got := b.Stats(); got != want {
					t.Errorf("%+v, want %+v", got, want)
				}
				_ = slow.Abandon()
				_ = quick.Abandon()
			})
		})
	}
}

func TestAMessageLongerThanTheQueueIsSentAlone(t *testing.T) {
	t.Parallel()
	client, server := both(t, &websocket.Server{}, &websocket.Dialer{})
	b := websocket.NewBroadcast(websocket.BroadcastConfig{Queue: 10})
	m := b.Join(server)
	b.Send(prepare(t, websocket.Text, "longer than the queue"))
	if _, got, err := client.Read(); err != nil || string(got) != "longer than the queue" {
		t.Errorf("%q, %v", got, err)
	}
	m.Leave()
	b.Send(prepare(t, websocket.Text, "late"))
	if s := b.Stats(); s != (websocket.BroadcastStats{Sent: 1}) {
		t.Errorf("%+v", s)
	}
}
