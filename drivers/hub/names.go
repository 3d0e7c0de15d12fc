package hub

import "gantry/wamp"

// ErrURIRefused answers a caller when the device itself refused the request.
const ErrURIRefused wamp.URI = "gantry.error.refused"

// maxName bounds the names of gateways, devices, points and actions, so that no
// URI made of them comes near [wamp.MaxURILength].
const maxName = 64

// allowedName says in messages what ValidName accepts.
const allowedName = "1 to 64 of a-z 0-9 _"

// ValidName reports whether s can name a gateway, device, point or action: 1 to
// 64 lower-case letters, digits and underscores, one component of a URI.
func ValidName(s string) bool {
	if s == "" || len(s) > maxName {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

// PointTopic returns the topic of a point's readings.
func PointTopic(gateway, device, point string) wamp.URI {
	return uri(gateway, "point", device, point)
}

// LinkTopic returns the topic of a device's link state.
func LinkTopic(gateway, device string) wamp.URI { return uri(gateway, "state", device, "link") }

// GetProcedure returns the procedure that reads a point.
func GetProcedure(gateway, device, point string) wamp.URI {
	return uri(gateway, "get", device, point)
}

// SetProcedure returns the procedure that writes a point.
func SetProcedure(gateway, device, point string) wamp.URI {
	return uri(gateway, "set", device, point)
}

// DoProcedure returns the procedure that runs an action.
func DoProcedure(gateway, device, action string) wamp.URI {
	return uri(gateway, "do", device, action)
}

// SysProcedure returns one of the hub's own procedures: verb is list, describe,
// restart, keepalive, pending, accept, ignore or forget.
func SysProcedure(gateway, verb string) wamp.URI { return uri(gateway, "sys", "device", verb) }

// ArrivalTopic returns the topic of candidates: verb is appeared or vanished.
func ArrivalTopic(gateway, verb string) wamp.URI { return uri(gateway, "sys", "device", verb) }

func uri(gateway, class, device, name string) wamp.URI {
	return wamp.URI("gantry." + gateway + "." + class + "." + device + "." + name)
}
