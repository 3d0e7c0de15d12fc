package mqttd_test

// noWord: 4.13 lets a server do so.
const noWord = "ends the connection without DISCONNECT"

// What servers do in place of what a statement asks; docs/mqtt-conformance.md says so in
// its table. A difference that begins with "sometimes" need not be there.
var (
	ownOtherwise = map[string]string{
		"3.1.1 MQTT-3.8.4-6 the lower QoS of publication and subscription": "always that of the subscription",
		"3.1.1 MQTT-4.7.3-3 a topic of 2000 bytes":                         "refused (in version 5 with 0x90): its URI may have 1024 bytes",
	}
	mosquittoOtherwise = map[string]string{
		"3.1.1 MQTT-3.1.2-24 silence beyond one and a half times the keep-alive": "ends it some seconds later",
		"3.1.1 MQTT-2.2.2-2 PINGREQ with reserved flags":                         "answers it",
		"3.1.1 4.8 SUBACK from a client":                                         "ignores it",
		"3.1.1 MQTT-3.3.1-2 DUP at QoS 0":                                        "takes it",
		"3.1.1 MQTT-4.7.3-3 a topic of 250 levels, and one of 1000 bytes":        "has 200 levels at most",

		"5 MQTT-3.1.4-3 a session is taken over":                       "sometimes " + noWord,
		"5 3.1.3.2.2 the will of a session that ends before its delay": "sends none",
		"5 4.13.1 a malformed packet is told of":                       "answers it",
		"5 4.13.1 a packet that clients do not send":                   "sometimes " + noWord,
		"5 MQTT-3.1.0-2 a second CONNECT":                              "sometimes " + noWord,
		"5 MQTT-3.15.1-1 and 4.12 AUTH without a method":               "sometimes " + noWord,
		"5 2.2.2.2 a property twice":                                   "sometimes " + noWord,
		"5 MQTT-3.3.2-8 a topic alias 0":                               "DISCONNECT 0x81",
		"5 MQTT-3.3.2-14 a response topic with wildcards":              "takes it",
		"5 MQTT-3.3.4-6 a subscription identifier from a client":       "takes it",
		"5 MQTT-3.3.4-9 receive maximum":                               "sends one more",
		"5 3.6.2.1 PUBREC for an unknown identifier":                   "success",
		"5 3.7.2.1 PUBREL for an unknown identifier":                   "success",
		"5 MQTT-3.8.3-4 no local of a shared subscription":             "takes it",
		"5 3.9.3 reason codes of SUBACK":                               "DISCONNECT 0x81 for a filter that is none",
		"5 MQTT-4.8.2-1 and -2 shared subscriptions that are none":     "takes them as plain filters",
		"5 3.3.1.3 a shared subscription gets no retained messages":    "sends them",
	}
	mochiOtherwise = map[string]string{
		"3.1.1 MQTT-3.1.2-17 a will that is retained":                                             "sometimes live with RETAIN",
		"3.1.1 MQTT-3.1.2-1 the name of the protocol":                                             "CONNACK with a code of version 5",
		"3.1.1 MQTT-3.1.2-2 a level that the server does not know":                                "CONNACK with a code of version 5",
		"3.1.1 MQTT-3.1.2-3 the reserved flag of CONNECT":                                         "CONNACK with a code of version 5",
		"3.1.1 MQTT-3.1.2-14 a will at QoS 3":                                                     "CONNACK with a code of version 5",
		"3.1.1 MQTT-3.1.2-15 a will to be retained without a will":                                "CONNACK with a code of version 5",
		"3.1.1 MQTT-3.1.2-22 a password without a user name":                                      "takes it",
		"3.1.1 MQTT-3.1.3-8 a client without an id that wants its session kept":                   "CONNACK with a code of version 5",
		"3.1.1 MQTT-3.1.4-2 a client id is taken over":                                            "sends DISCONNECT, which is for clients",
		"3.1.1 MQTT-4.7.1-2 # that is not a whole level":                                          "takes it",
		"3.1.1 MQTT-4.7.1-3 + that is not a whole level":                                          "takes it",
		"3.1.1 MQTT-4.7.3-1 an empty filter":                                                      "takes it",
		"3.1.1 MQTT-3.1.2-5 a kept session gets what it missed at QoS 1 and 2":                    "sometimes in another order",
		"3.1.1 MQTT-4.4.0-1 what was not acknowledged is sent again, with DUP and its identifier": "sometimes in another order",
		"3.1.1 MQTT-4.3.3-2 exactly once over a reconnect":                                        "answers PUBREL with PUBREC",

		"5 4.12 an authentication method that the server does not know": "takes it",
		"5 3.1.3.2.2 the will of a session that ends before its delay":  "sends none",
		"5 4.13.1 a malformed packet is told of":                        noWord,
		"5 4.13.1 a packet that clients do not send":                    noWord,
		"5 MQTT-3.15.1-1 and 4.12 AUTH without a method":                noWord,
		"5 2.2.2.2 a property twice":                                    "takes it",
		"5 2.2.2.2 a property that is not for the packet":               noWord,
		"5 MQTT-1.5.5-1 an integer with more bytes than it needs":       "takes it",
		"5 MQTT-3.3.1-4 QoS 3":                                          noWord,
		"5 MQTT-3.3.2-14 a response topic with wildcards":               "takes it",
		"5 MQTT-3.3.2-9 an alias above the maximum":                     "takes it, and tells no maximum",
		"5 MQTT-3.3.2-7 and -12 topic aliases of the client":            "ignores one that stands for nothing",
		"5 MQTT-3.3.2-10 topic aliases end with the connection":         "ignores one that stands for nothing",
		"5 4.3.3 PUBREC with an error ends the handshake":               "sends the next message never",
		"5 3.7.2.1 a PUBREL whose PUBCOMP was lost is no error":         "0x92",
		"5 3.8.2.1.2 a subscription identifier 0":                       "takes it",
		"5 MQTT-3.8.3-5 reserved subscription options":                  "takes them",
		"5 3.8.3.1 retain handling 3":                                   "takes it",
		"5 MQTT-3.8.3-4 no local of a shared subscription":              "SUBACK 0x82",
		"5 MQTT-4.8.2-1 and -2 shared subscriptions that are none":      "takes some as plain filters",
		"5 MQTT-4.1.0-1 and 4.4.0-1 a kept session gets what it missed": "sometimes in another order",
	}
)
