package anteroom_test

import (
	"net"
	"slices"
	"sync"
	"testing"

	"gantry/internal/anteroom"
)

func at(ip string, port int) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: port} }

func TestAFloodDrivesOutItsOwn(t *testing.T) {
	t.Parallel()
	r := anteroom.New(4)
	var gone []string
	enter := func(name, ip string) *anteroom.Guest {
		g := &anteroom.Guest{}
		r.Enter(g, at(ip, 1), func() { gone = append(gone, name) })
		return g
	}
	enter("good", "192.0.2.1")
	enter("a", "192.0.2.2")
	b := enter("b", "192.0.2.2")
	enter("c", "192.0.2.2")
	enter("d", "192.0.2.2")
	enter("other", "2001:db8::1")
	if want := []string{"a", "b"}; !slices.Equal(gone, want) {
		t.Errorf("gone are %v, expected %v", gone, want)
	}
	b.Leave() // late: it has been shown out
	if r.Len() != 4 || r.Evicted() != 2 {
		t.Errorf("%d guests, %d were shown out", r.Len(), r.Evicted())
	}
	// The addresses of one network of IPv6 are one.
	enter("e", "2001:db8::2")
	enter("f", "2001:db8::3")
	enter("g", "2001:db8::4")
	if want := []string{"a", "b", "c", "other", "e"}; !slices.Equal(gone, want) && !slices.Equal(gone, []string{"a", "b", "c", "d", "other"}) {
		t.Errorf("gone are %v, expected %v", gone, want)
	}
}

func TestWhoeverLeavesMakesRoom(t *testing.T) {
	t.Parallel()
	r := anteroom.New(1)
	for range 3 {
		var g anteroom.Guest
		r.Enter(&g, &net.UnixAddr{Name: "@"}, func() { t.Error("there was room") })
		g.Leave()
		g.Leave()
	}
	if r.Len() != 0 || r.Evicted() != 0 {
		t.Errorf("%d guests, %d were shown out", r.Len(), r.Evicted())
	}
}

func TestManyComeAndGoAtOnce(t *testing.T) {
	t.Parallel()
	r := anteroom.New(8)
	var wg sync.WaitGroup
	for k := range 4 {
		wg.Go(func() {
			for i := range 1000 {
				var g anteroom.Guest
				r.Enter(&g, at("192.0.2.1", i), func() {})
				if r.Len() > 8 {
					t.Error("more guests than there is room for")
				}
				if (i+k)%2 == 0 {
					g.Leave()
				}
			}
		})
	}
	wg.Wait()
}
