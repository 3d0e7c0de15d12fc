package modbus

import (
	"encoding/binary"
	"errors"
	"fmt"

	"gantry/drivers"
)

// The function codes. Source: Modbus Application Protocol V1.1b3, section 5.1.
const (
	fcReadCoils          = 1
	fcReadDiscretes      = 2
	fcReadHolding        = 3
	fcReadInput          = 4
	fcWriteCoil          = 5
	fcWriteRegister      = 6
	fcDiagnostics        = 8
	fcWriteCoils         = 15
	fcWriteRegisters     = 16
	fcMaskRegister       = 22
	fcReadWriteRegisters = 23
	fcEncapsulated       = 43

	exceptionFlag = 0x80 // set in the function code of an exception response
	meiDeviceID   = 14   // the encapsulated interface that tells the identification
)

// Bounds of the protocol. Source: V1.1b3, sections 4.1 and 6.
const (
	maxPDU         = 253
	maxReadBits    = 2000
	maxReadRegs    = 125
	maxWriteBits   = 1968
	maxWriteRegs   = 123
	maxReadWriteRW = 121 // registers written by function 23
)

// table is one of the four address spaces of a unit.
type table uint8

const (
	coils table = iota
	discretes
	holding
	inputs
)

var tableNames = [...]string{"coil", "discrete", "holding", "input"}

func (t table) String() string { return tableNames[t] }

// bits reports whether the table holds single bits.
func (t table) bits() bool { return t <= discretes }

func (t table) function() byte {
	return [...]byte{fcReadCoils, fcReadDiscretes, fcReadHolding, fcReadInput}[t]
}

func parseTable(s string) (table, bool) {
	for i, n := range tableNames {
		if s == n {
			return table(i), true
		}
	}
	return 0, false
}

// Exception is a unit's answer that it will not. It matches, by errors.Is, the
// sentinel of package drivers that applies. Source: V1.1b3, section 7.
type Exception struct {
	Function uint8 // of the request
	Code     uint8
}

// The exception codes.
const (
	illegalFunction    = 1
	illegalDataAddress = 2
	illegalDataValue   = 3
	deviceBusy         = 6
	gatewayNoPath      = 10
	gatewayNoResponse  = 11
)

var exceptionNames = map[uint8]string{
	illegalFunction: "illegal_function", illegalDataAddress: "illegal_address", illegalDataValue: "illegal_value",
	4: "device_failure", 5: "acknowledge", deviceBusy: "device_busy", 7: "negative_acknowledge", 8: "memory_parity",
	gatewayNoPath: "gateway_no_path", gatewayNoResponse: "gateway_no_response",
}

// Name returns the standard's name of the code in one word, such as
// illegal_address.
func (e *Exception) Name() string {
	if n, ok := exceptionNames[e.Code]; ok {
		return n
	}
	return fmt.Sprintf("exception_%d", e.Code)
}

// Error returns the name, the code and the function that was refused.
func (e *Exception) Error() string {
	return fmt.Sprintf("%s (exception %d to function %d)", e.Name(), e.Code, e.Function)
}

// Unwrap returns ErrBusy, ErrOffline or ErrTimeout where the code says that, and
// ErrRefused otherwise.
func (e *Exception) Unwrap() error {
	switch e.Code {
	case 5, deviceBusy:
		return drivers.ErrBusy
	case gatewayNoPath:
		return drivers.ErrOffline
	case gatewayNoResponse:
		return drivers.ErrTimeout
	}
	return drivers.ErrRefused
}

func isException(err error) bool {
	var e *Exception
	return errors.As(err, &e)
}

// header returns a PDU that begins with function, address and count.
func header(function byte, addr, count uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16([]byte{function}, addr), count)
}

// readPDU asks for count bits or registers from addr on. Source: V1.1b3, 6.1-6.4.
func readPDU(t table, addr, count uint16) []byte { return header(t.function(), addr, count) }

// writeCoilPDU sets one coil. Source: 6.5.
func writeCoilPDU(addr uint16, on bool) []byte {
	if on {
		return header(fcWriteCoil, addr, 0xFF00)
	}
	return header(fcWriteCoil, addr, 0)
}

// writeCoilsPDU sets coils from addr on; data holds them, the first one lowest.
// Source: 6.11.
func writeCoilsPDU(addr, count uint16, data []byte) []byte {
	return append(append(header(fcWriteCoils, addr, count), byte(len(data))), data...)
}

// writeRegisterPDU sets one register. Source: 6.6.
func writeRegisterPDU(addr, v uint16) []byte { return header(fcWriteRegister, addr, v) }

// writeRegistersPDU sets registers from addr on. Source: 6.12.
func writeRegistersPDU(addr uint16, data []byte) []byte {
	return append(append(header(fcWriteRegisters, addr, uint16(len(data)/2)), byte(len(data))), data...)
}

// maskPDU sets a register to (old AND and) OR (or AND NOT and). Source: 6.16.
func maskPDU(addr, and, or uint16) []byte {
	return binary.BigEndian.AppendUint16(header(fcMaskRegister, addr, and), or)
}

// readWritePDU writes data to registers from writeAddr on, then reads. Source:
// 6.17.
func readWritePDU(addr, count, writeAddr uint16, data []byte) []byte {
	p := header(fcReadWriteRegisters, addr, count)
	p = binary.BigEndian.AppendUint16(p, writeAddr)
	p = binary.BigEndian.AppendUint16(p, uint16(len(data)/2))
	return append(append(p, byte(len(data))), data...)
}

// echoPDU asks the unit to return the two bytes; every unit answers it with them
// or with an exception. Source: 6.8.1, subfunction 0.
func echoPDU(nonce uint16) []byte { return header(fcDiagnostics, 0, nonce) }

// deviceIDPDU asks for the identification from object id on, code 1 = basic,
// 2 = regular. Source: 6.21.
func deviceIDPDU(code, id byte) []byte { return []byte{fcEncapsulated, meiDeviceID, code, id} }

// mismatchError is a well-formed answer that does not belong to the request.
type mismatchError struct{ text string }

func (e *mismatchError) Error() string { return "answer does not fit the request: " + e.text }

func mismatch(format string, args ...any) error { return &mismatchError{fmt.Sprintf(format, args...)} }

// checkResponse returns what resp, a whole PDU, answers to req, a valid one: the
// data of a read, nil for a write that was confirmed. The error is an *Exception,
// or a *mismatchError.
func checkResponse(req, resp []byte) ([]byte, error) {
	if len(resp) < 2 || resp[0]&^exceptionFlag != req[0] {
		return nil, mismatch("function %d was asked", req[0])
	}
	if resp[0]&exceptionFlag != 0 {
		if len(resp) != 2 {
			return nil, mismatch("exception of %d bytes", len(resp))
		}
		return nil, &Exception{Function: req[0], Code: resp[1]}
	}
	switch req[0] {
	case fcReadCoils, fcReadDiscretes, fcReadHolding, fcReadInput, fcReadWriteRegisters:
		if n := dataBytes(req); int(resp[1]) != n || len(resp) != 2+n {
			return nil, mismatch("%d bytes of data in place of %d", len(resp)-2, n)
		}
		return resp[2:], nil
	case fcWriteCoil, fcWriteRegister, fcMaskRegister, fcWriteCoils, fcWriteRegisters:
		if n := echoed(req[0]); string(resp) != string(req[:n]) {
			return nil, mismatch("% x was confirmed in place of % x", resp, req[:n])
		}
		return nil, nil
	case fcDiagnostics:
		if string(resp) != string(req) {
			return nil, mismatch("another echo")
		}
		return nil, nil
	}
	return resp[1:], nil
}

// dataBytes returns how many bytes of data answer a read.
func dataBytes(req []byte) int {
	n := int(binary.BigEndian.Uint16(req[3:]))
	if req[0] <= fcReadDiscretes {
		return (n + 7) / 8
	}
	return 2 * n
}

// echoed returns how many bytes of a write's PDU its answer repeats.
func echoed(function byte) int {
	if function == fcMaskRegister {
		return 7
	}
	return 5
}

// answerLength returns the length of the PDU that answers a request, unless it is
// an exception; 0 if that cannot be told.
func answerLength(req []byte) int {
	switch req[0] {
	case fcReadCoils, fcReadDiscretes, fcReadHolding, fcReadInput, fcReadWriteRegisters:
		return 2 + dataBytes(req)
	case fcEncapsulated:
		return 0
	}
	return echoed(req[0])
}

// responseLength returns the length of the response PDU that begins with p, to a
// request of the function given. ok is false while too little of it is there to
// tell, or if it is of a kind that has no known length.
func responseLength(p []byte) (n int, ok bool) {
	if len(p) < 2 {
		return 0, false
	}
	switch {
	case p[0]&exceptionFlag != 0:
		return 2, true
	case p[0] >= fcReadCoils && p[0] <= fcReadInput, p[0] == fcReadWriteRegisters:
		return 2 + int(p[1]), true
	case p[0] == fcWriteCoil, p[0] == fcWriteRegister, p[0] == fcWriteCoils, p[0] == fcWriteRegisters, p[0] == fcDiagnostics:
		return 5, true
	case p[0] == fcMaskRegister:
		return 7, true
	case p[0] == fcEncapsulated && p[1] == meiDeviceID:
		return deviceIDLength(p)
	}
	return 0, false
}

// deviceIDLength walks the objects of an identification: their number is at 6,
// each has an id, a length and a value.
func deviceIDLength(p []byte) (n int, ok bool) {
	if len(p) < 7 {
		return 0, false
	}
	n = 7
	for range int(p[6]) {
		if len(p) < n+2 {
			return 0, false
		}
		n += 2 + int(p[n+1])
	}
	return n, true
}

// checkRequest reports what is wrong with a request that somebody else made, in
// the code of the exception that answers it; 0 = nothing. Functions other than
// those that this package speaks are refused: their length on a serial line would
// be unknown.
func checkRequest(p []byte) (code uint8) {
	if len(p) == 0 {
		return illegalFunction
	}
	count, limit, size := 0, 0, 5
	if len(p) >= 5 {
		count = int(binary.BigEndian.Uint16(p[3:]))
	}
	switch p[0] {
	case fcReadCoils, fcReadDiscretes:
		limit = maxReadBits
	case fcReadHolding, fcReadInput:
		limit = maxReadRegs
	case fcWriteCoil:
		count, limit = 1, 1
		if len(p) == 5 && (p[4] != 0 || p[3] != 0 && p[3] != 0xFF) {
			return illegalDataValue
		}
	case fcWriteRegister:
		count, limit = 1, 1
	case fcMaskRegister:
		count, limit, size = 1, 1, 7
	case fcWriteCoils:
		limit, size = maxWriteBits, 6+(count+7)/8
	case fcWriteRegisters:
		limit, size = maxWriteRegs, 6+2*count
	case fcReadWriteRegisters:
		return checkReadWrite(p)
	case fcEncapsulated:
		if len(p) == 4 && p[1] == meiDeviceID {
			return 0
		}
		return illegalFunction
	default:
		return illegalFunction
	}
	if count < 1 || count > limit || len(p) != size || size > 7 && int(p[5]) != size-6 {
		return illegalDataValue
	}
	if size > 7 || p[0] <= fcReadInput {
		if int(binary.BigEndian.Uint16(p[1:]))+count > 1<<16 {
			return illegalDataAddress
		}
	}
	return 0
}

func checkReadWrite(p []byte) (code uint8) {
	if len(p) < 10 {
		return illegalDataValue
	}
	u16 := func(i int) int { return int(binary.BigEndian.Uint16(p[i:])) }
	read, write := u16(3), u16(7)
	switch {
	case read < 1 || read > maxReadRegs, write < 1 || write > maxReadWriteRW, len(p) != 10+2*write, int(p[9]) != 2*write:
		return illegalDataValue
	case u16(1)+read > 1<<16, u16(5)+write > 1<<16:
		return illegalDataAddress
	}
	return 0
}

// writes reports whether a request changes something.
func writes(function byte) bool {
	switch function {
	case fcReadCoils, fcReadDiscretes, fcReadHolding, fcReadInput, fcEncapsulated:
		return false
	}
	return true
}

// object is one entry of a unit's identification.
type object struct {
	id    byte
	value string
}

// parseDeviceID returns the objects of an answer to deviceIDPDU, as checkResponse
// returns it, and the object to ask for next if there are more.
func parseDeviceID(body []byte) (objects []object, next byte, more bool, err error) {
	bad := mismatch("identification of %d bytes", len(body))
	if len(body) < 6 || body[0] != meiDeviceID {
		return nil, 0, false, bad
	}
	more, next = body[3] == 0xFF, body[4]
	rest := body[6:]
	for range int(body[5]) {
		if len(rest) < 2 || len(rest) < 2+int(rest[1]) {
			return nil, 0, false, bad
		}
		n := 2 + int(rest[1])
		objects = append(objects, object{rest[0], string(rest[2:n])})
		rest = rest[n:]
	}
	if len(rest) != 0 {
		return nil, 0, false, bad
	}
	return objects, next, more, nil
}
