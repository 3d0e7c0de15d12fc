package auth

// SCRAMWithNonce returns a client that has sent this nonce, for vectors whose
// nonces have another length than ours; binding is the type and cbind the data of
// its channel binding.
func SCRAMWithNonce(password Secret, authid, nonce, binding string, cbind []byte) *SCRAM {
	return &SCRAM{Password: password, Binding: binding, cbind: cbind, authid: authid, clientNonce: nonce}
}
