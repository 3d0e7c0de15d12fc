package mqttd

import "testing"

// oneEntry is a table with a single entry.
type oneEntry struct {
	Table
	key, value []byte
}

func (o oneEntry) Each(fn func(key, value []byte) error) error { return fn(o.key, o.value) }

// FuzzStored reads what a table may hold: it is taken whole, or refused.
func FuzzStored(f *testing.F) {
	f.Add([]byte("s\x00id"), []byte(`{"Version":5,"Expiry":1000,"Filters":[{"Options":{"Text":"a/#","QoS":1},"SubID":9}]}`))
	f.Add(messageKey("id", 7), []byte(`{"ID":3,"QoS":1,"Topic":"a","Payload":"aGk=","Properties":[{"ID":9,"Text":"é"}]}`))
	f.Add(receivedKey("id", 4), []byte{1})
	srv, err := New(Config{}, nil, nil, nil, nil, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		all, err := load(oneEntry{key: key, value: value}, srv.clock)
		if err != nil {
			return
		}
		for id, st := range all {
			s := srv.newSession(id, 5)
			s.restore(st)
			for _, d := range st.messages {
				if len(d.encode(s.clock)) == 0 {
					t.Fatal("a message that was read is not written")
				}
			}
		}
	})
}
