package packet

// Reason codes of MQTT 5 (table 2-6), as far as they are sent.
const (
	Success                = 0x00
	DisconnectWithWill     = 0x04
	NoSubscription         = 0x11
	Unspecified            = 0x80
	MalformedPacket        = 0x81
	ProtocolError          = 0x82
	ImplementationSpecific = 0x83
	BadProtocol            = 0x84
	BadClientID            = 0x85
	BadUserOrPassword      = 0x86
	NotAuthorized          = 0x87
	ServerUnavailable      = 0x88
	ServerShuttingDown     = 0x8b
	BadAuthMethod          = 0x8c
	KeepAliveTimeout       = 0x8d
	SessionTakenOver       = 0x8e
	BadFilter              = 0x8f
	BadTopic               = 0x90
	IDNotFound             = 0x92
	TooManyReceived        = 0x93
	BadTopicAlias          = 0x94
	PacketTooLarge         = 0x95
	QuotaExceeded          = 0x97
	BadPayload             = 0x99
	SharedNotSupported     = 0x9e
)

// The return codes of a CONNACK of MQTT 3.1.1 (table 3.1).
const (
	OldBadProtocol       = 1
	OldBadClientID       = 2
	OldServerUnavailable = 3
	OldBadUserOrPassword = 4
	OldNotAuthorized     = 5
)
