package auth

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"

	"gantry/wamp"
)

// The types of channel binding.
const (
	// TLSExporter is the binding of RFC 9266, for TLS 1.3 and for TLS 1.2 with
	// extended master secret.
	TLSExporter = "tls-exporter"
	// TLSUnique is the binding of RFC 5929, which TLS 1.3 does not have.
	TLSUnique = "tls-unique"
)

// exporterLen is the length of a tls-exporter binding (RFC 9266, 2) and of
// cryptosign's channel id.
const exporterLen = 32

// Channels is what a TLS connection offers to bind an authentication to. The
// zero value is a connection without TLS.
type Channels struct {
	// Exporter is the tls-exporter value, 32 bytes, or nil.
	Exporter []byte
	// Unique is the first Finished message, or nil.
	Unique []byte
	// TLS13 tells that the connection speaks TLS 1.3 or later, whose Unique is
	// never used.
	TLS13 bool
}

// ChannelsOf returns what the connection offers once its handshake is done.
// Sources: RFC 9266, 2; RFC 5929, 3.
func ChannelsOf(cs *tls.ConnectionState) Channels {
	c := Channels{TLS13: cs.Version >= tls.VersionTLS13}
	// TLS 1.2 without extended master secret has none; the binding is refused then.
	if b, err := cs.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, exporterLen); err == nil {
		c.Exporter = b
	}
	if !c.TLS13 {
		c.Unique = cs.TLSUnique
	}
	return c
}

// data returns the binding data of a type, as SCRAM sends it.
func (c *Channels) data(binding string) ([]byte, error) {
	switch binding {
	case TLSExporter:
		if len(c.Exporter) != exporterLen {
			return nil, fmt.Errorf("channel binding tls-exporter: this connection has none; it needs TLS 1.3")
		}
		return c.Exporter, nil
	case TLSUnique:
		if c.TLS13 {
			return nil, fmt.Errorf("channel binding tls-unique: TLS 1.3 has none; use tls-exporter (RFC 9266)")
		}
		if len(c.Unique) == 0 {
			return nil, fmt.Errorf("channel binding tls-unique: this connection has none")
		}
		return c.Unique, nil
	}
	return nil, fmt.Errorf("channel binding: unknown type; known: tls-exporter, tls-unique")
}

// id returns the 32 bytes that cryptosign mixes into its challenge. A Finished
// message has another length, so its SHA-256 is taken, as Autobahn does.
func (c *Channels) id(binding string) ([]byte, error) {
	b, err := c.data(binding)
	if err != nil || binding == TLSExporter {
		return b, err
	}
	sum := sha256.Sum256(b)
	return sum[:], nil
}

// Link is the connection on which an authentication takes place.
type Link struct {
	// Peer describes the other end. Passwords travel as text only where it is
	// Encrypted or Local.
	Peer wamp.PeerInfo
	// Channels is what the connection offers for channel binding.
	Channels Channels
}

func (l *Link) private() bool { return l.Peer.Encrypted || l.Peer.Local }
