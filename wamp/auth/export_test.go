package auth

// SCRAMWithNonce returns a client that has sent this nonce, for vectors whose
// nonces have another length than ours.
func SCRAMWithNonce(password Secret, authid, nonce string) *SCRAM {
	return &SCRAM{Password: password, authid: authid, clientNonce: nonce}
}
