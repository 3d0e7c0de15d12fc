package later

import (
	"errors"
	"strings"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

// maxText bounds what is kept of an error's text, in bytes.
const maxText = 200

// after returns j after the call has ended with err. Waited out is only what says
// for certain that nothing was done: nobody there, or busy. What may have been done
// without an answer is lost.
func (j Job) after(err error, now Moment) Job {
	j.Changed = now.Wall.UnixMicro()
	if err == nil {
		j.State = Done
		return j
	}
	var refused *wamp.Error
	if !errors.As(err, &refused) {
		return j.lost(now, clip(err.Error()))
	}
	j.Error, j.Why = clip(string(refused.URI)), clip(refused.Text)
	switch refused.URI {
	case wamp.ErrURINoSuchProcedure, wamp.ErrURINoAvailableCallee, wamp.ErrURIBusy:
		j.State = Queued
		j.Tries++
	case wamp.ErrURIOffline:
		// Without since, the connection was lost after the command had been sent.
		var since int64
		if found, err := serialize.Kwarg(refused.Payload, "since", &since); !found || err != nil {
			return j.lost(now, j.Why)
		}
		j.State = Queued
		j.Tries++
	case wamp.ErrURICanceled, wamp.ErrURITimeout, wamp.ErrURIDevTimeout, wamp.ErrURINetworkFailure, wamp.ErrURIUnavailable:
		return j.lost(now, j.Why)
	case wamp.ErrURIExpired:
		j.State = Expired
	default:
		j.State = Failed
	}
	return j
}

// clip bounds a text from outside.
func clip(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxText)], "\uFFFD")
}
