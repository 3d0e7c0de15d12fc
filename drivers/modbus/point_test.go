package modbus

import "testing"

func TestBitsOfARegister(t *testing.T) {
	t.Parallel()
	f, _ := registerForm("u16")
	f.Bit, f.Bits = 4, 3
	if v, _ := f.Read([]byte{0x00, 0x50}); v != int64(5) {
		t.Errorf("read %v", v)
	}
	and, or, err := writeBits(&f, int64(6))
	if err != nil || and != 0xFF8F || or != 0x0060 {
		t.Errorf("masks %04x %04x (%v)", and, or, err)
	}
	if _, _, err := writeBits(&f, int64(8)); err == nil {
		t.Error("8 fits three bits")
	}
	f.Bit, f.Bits, f.Flag = 15, 1, true
	if v, _ := f.Read([]byte{0x80, 0}); v != true {
		t.Errorf("bit 15 reads %v", v)
	}
	and, or, _ = writeBits(&f, false)
	if and != 0x7FFF || or != 0 {
		t.Errorf("masks %04x %04x", and, or)
	}
	f.Order = []byte{1, 0}
	if v, _ := f.Read([]byte{0, 0x80}); v != true {
		t.Errorf("swapped bit 15 reads %v", v)
	}
	if and, or, _ = writeBits(&f, true); and != 0xFF7F || or != 0x0080 {
		t.Errorf("swapped masks %04x %04x", and, or)
	}
}
