package modbus

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"gantry/drivers"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The examples of the Modbus Application Protocol V1.1b3, section 6, byte for byte.
func TestExamplesOfTheStandard(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		got       []byte
		req, resp string
		data      string
	}{
		{"6.1 read coils 20-38", readPDU(coils, 0x13, 0x13), "01 0013 0013", "01 03 CD6B05", "CD6B05"},
		{"6.2 read discrete inputs 197-218", readPDU(discretes, 0xC4, 0x16), "02 00C4 0016", "02 03 ACDB35", "ACDB35"},
		{"6.3 read holding registers 108-110", readPDU(holding, 0x6B, 3), "03 006B 0003", "03 06 022B 0000 0064", "022B00000064"},
		{"6.4 read input register 9", readPDU(inputs, 8, 1), "04 0008 0001", "04 02 000A", "000A"},
		{"6.5 write coil 173 on", writeCoilPDU(0xAC, true), "05 00AC FF00", "05 00AC FF00", ""},
		{"6.5 write coil off", writeCoilPDU(0xAC, false), "05 00AC 0000", "05 00AC 0000", ""},
		{"6.6 write register 2", writeRegisterPDU(1, 3), "06 0001 0003", "06 0001 0003", ""},
		{"6.8 return query data", echoPDU(0xA537), "08 0000 A537", "08 0000 A537", ""},
		{"6.11 write ten coils from 20", writeCoilsPDU(0x13, 10, []byte{0xCD, 1}), "0F 0013 000A 02 CD01", "0F 0013 000A", ""},
		{"6.12 write two registers from 2", writeRegistersPDU(1, []byte{0, 0x0A, 1, 2}), "10 0001 0002 04 000A 0102", "10 0001 0002", ""},
		{"6.16 mask register 5", maskPDU(4, 0xF2, 0x25), "16 0004 00F2 0025", "16 0004 00F2 0025", ""},
		{"6.17 read six, write three", readWritePDU(3, 6, 0x0E, []byte{0, 0xFF, 0, 0xFF, 0, 0xFF}),
			"17 0003 0006 000E 0003 06 00FF 00FF 00FF", "17 0C 00FE 0ACD 0001 0003 000D 00FF", "00FE0ACD00010003000D00FF"},
	} {
		if !bytes.Equal(tt.got, unhex(t, tt.req)) {
			t.Errorf("%s: request % x, want %s", tt.name, tt.got, tt.req)
		}
		if code := checkRequest(tt.got); code != 0 && tt.got[0] != fcDiagnostics {
			t.Errorf("%s: own request refused with %d", tt.name, code)
		}
		resp := unhex(t, tt.resp)
		data, err := checkResponse(tt.got, resp)
		if err != nil || !bytes.Equal(data, unhex(t, tt.data)) {
			t.Errorf("%s: data % x (%v), want %s", tt.name, data, err, tt.data)
		}
		for i := range resp { // a cut answer is none, and no longer one either
			if n, ok := responseLength(resp[:i]); ok && n <= i {
				t.Errorf("%s: %d bytes are taken for a whole answer", tt.name, i)
			}
		}
		if n, ok := responseLength(resp); !ok || n != len(resp) {
			t.Errorf("%s: length %d (%v) of %d", tt.name, n, ok, len(resp))
		}
		_, err = checkResponse(tt.got, []byte{tt.got[0] | 0x80, 2})
		var e *Exception
		if !errors.As(err, &e) || e.Code != 2 || e.Function != tt.got[0] || !errors.Is(err, drivers.ErrRefused) {
			t.Errorf("%s: exception became %v", tt.name, err)
		}
	}
}

func TestAnswersThatDoNotFit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		req  []byte
		resp string
	}{
		{"another function", readPDU(holding, 0, 1), "04 02 0000"},
		{"another number of registers", readPDU(holding, 0, 1), "03 04 0000 0000"},
		{"a wrong count of bytes", readPDU(holding, 0, 2), "03 02 0000 0000"},
		{"an exception with a tail", readPDU(holding, 0, 1), "83 02 00"},
		{"another address confirmed", writeRegisterPDU(1, 3), "06 0002 0003"},
		{"another value confirmed", writeRegisterPDU(1, 3), "06 0001 0004"},
		{"nothing", readPDU(holding, 0, 1), ""},
	} {
		_, err := checkResponse(tt.req, unhex(t, tt.resp))
		var m *mismatchError
		if !errors.As(err, &m) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestExceptionsMatchTheContractsErrors(t *testing.T) {
	t.Parallel()
	for code, want := range map[uint8]error{1: drivers.ErrRefused, 2: drivers.ErrRefused, 3: drivers.ErrRefused, 4: drivers.ErrRefused,
		5: drivers.ErrBusy, 6: drivers.ErrBusy, 10: drivers.ErrOffline, 11: drivers.ErrTimeout, 77: drivers.ErrRefused} {
		e := &Exception{Function: 3, Code: code}
		if !errors.Is(e, want) || e.Name() == "" {
			t.Errorf("code %d: %v matches %v: %v", code, e, want, errors.Is(e, want))
		}
	}
}

func TestForeignRequestsAreChecked(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, req string
		want      uint8
	}{
		{"nothing", "", illegalFunction},
		{"diagnostics", "08 0000 0000", illegalFunction},
		{"a function of the vendor", "64 00", illegalFunction},
		{"no registers", "03 0000 0000", illegalDataValue},
		{"too many registers", "03 0000 007E", illegalDataValue},
		{"over the end", "03 FFFF 0002", illegalDataAddress},
		{"the last one", "03 FFFF 0001", 0},
		{"a coil that is neither on nor off", "05 0000 1234", illegalDataValue},
		{"a coil at the end", "05 FFFF FF00", 0},
		{"too short", "06 0000", illegalDataValue},
		{"registers without data", "10 0000 0002 04 0000", illegalDataValue},
		{"registers with a wrong count", "10 0000 0001 04 0000", illegalDataValue},
		{"registers over the end", "10 FFFF 0002 04 0000 0000", illegalDataAddress},
		{"coils with a wrong count", "0F 0000 0009 01 00", illegalDataValue},
		{"read and write over the end", "17 0000 0001 FFFF 0002 04 0000 0000", illegalDataAddress},
		{"identification", "2B 0E 01 00", 0},
		{"CANopen", "2B 0D 01 00", illegalFunction},
	} {
		if got := checkRequest(unhex(t, tt.req)); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

// The example of V1.1b3, section 6.21.
func TestIdentification(t *testing.T) {
	t.Parallel()
	req := deviceIDPDU(1, 0)
	resp := unhex(t, "2B 0E 01 01 00 00 03 00 16 "+hex.EncodeToString([]byte("Company identification"))+
		" 01 0D "+hex.EncodeToString([]byte("Product code "))+" 02 05 "+hex.EncodeToString([]byte("V2.11")))
	if n, ok := responseLength(resp); !ok || n != len(resp) {
		t.Errorf("length %d (%v) of %d", n, ok, len(resp))
	}
	body, err := checkResponse(req, resp)
	if err != nil {
		t.Fatal(err)
	}
	objects, _, more, err := parseDeviceID(body)
	if err != nil || more || len(objects) != 3 || objects[0].value != "Company identification" || objects[2] != (object{2, "V2.11"}) {
		t.Errorf("%v more %v (%v)", objects, more, err)
	}
}

func FuzzDecoders(f *testing.F) {
	f.Add([]byte{3, 2, 0, 1}, uint8(3))
	f.Add([]byte{0x2B, 0x0E, 1, 1, 0, 0, 1, 0, 1, 'x'}, uint8(43))
	f.Fuzz(func(t *testing.T, b []byte, function uint8) {
		for _, req := range [][]byte{readPDU(coils, 1, 9), readPDU(holding, 0, 2), writeRegisterPDU(1, 3), maskPDU(1, 2, 3),
			writeCoilsPDU(0, 9, []byte{1, 1}), readWritePDU(0, 1, 0, []byte{1, 2}), echoPDU(7), deviceIDPDU(1, 0)} {
			data, err := checkResponse(req, b)
			if err == nil && req[0] == fcEncapsulated {
				_, _, _, _ = parseDeviceID(data)
			}
		}
		if n, ok := responseLength(b); ok && n < 2 {
			t.Errorf("length %d", n)
		}
		if checkRequest(b) == 0 && b[0] != fcEncapsulated {
			// What passes has an answer of known shape.
			data := make([]byte, 2+256)
			data[0] = b[0]
			_, _ = checkResponse(b, data)
		}
		if _, _, pdu, n, ok := parseMBAP(b); ok && n > 0 && (len(pdu) < 1 || len(pdu) > maxPDU || n > len(b)) {
			t.Errorf("frame of %d with a PDU of %d", n, len(pdu))
		}
		req := readPDU(holding, 0, 1)
		if pdu, _ := answerIn(b, function, req); pdu != nil && len(pdu) != 4 && len(pdu) != 2 {
			t.Errorf("answer % x", pdu)
		}
	})
}
