package auth_test

import (
	"testing"

	"gantry/wamp/auth"
)

// I<soft hyphen>X, user, USER and BEL are examples of RFC 4013, 3.
func TestPasswordsArePrepared(t *testing.T) {
	t.Parallel()
	key := func(s string) string {
		v, err := auth.DeriveSCRAM(auth.NewSecret(s), pbkdf2)
		if err != nil {
			return err.Error()
		}
		return v.Text()
	}
	for _, same := range [][2]string{{"I\u00adX", "IX"}, {"a\u00a0b", "a b"}, {"a\u2003b", "a b"}, {"\ufeffab\u200d", "ab"}} {
		if key(same[0]) != key(same[1]) {
			t.Errorf("%q and %q differ", same[0], same[1])
		}
	}
	for _, other := range [][2]string{{"user", "USER"}, {"Zoë", "Zoe"}, {"a b", "ab"}} {
		if key(other[0]) == key(other[1]) {
			t.Errorf("%q and %q are the same", other[0], other[1])
		}
	}
	for _, s := range []string{"\x07", "a\x7f", "é\x07", "\u0085x", "\ue000", "\ufffd", "a\u202eb", "\xff", "\ufdd0", "", "\u00ad"} {
		if _, err := auth.DeriveSCRAM(auth.NewSecret(s), pbkdf2); err == nil {
			t.Errorf("%q is accepted", s)
		}
	}
}
