package keypair_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"gantry/internal/keypair"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// issue writes a certificate of that number and its key, as files changed at a time.
func issue(t *testing.T, cert, key string, number int64, changed time.Time) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(number), NotAfter: changed.Add(time.Hour)}
	public, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write(t, cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: public}), changed)
	write(t, key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), changed)
}

func write(t *testing.T, file string, data []byte, changed time.Time) {
	t.Helper()
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(file, changed, changed); err != nil {
		t.Fatal(err)
	}
}

func TestRenewal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
		pair := keypair.New(cert, key)
		if _, err := pair.Get(nil); err == nil {
			t.Error("a certificate of no file")
		}
		expect := func(number int64, when string) {
			t.Helper()
			got, err := pair.Get(nil)
			if err != nil {
				t.Fatalf("%s: %v", when, err)
			}
			c, err := x509.ParseCertificate(got.Certificate[0])
			if err != nil || c.SerialNumber.Int64() != number {
				t.Errorf("%s: certificate %v, expected %d: %v", when, c.SerialNumber, number, err)
			}
		}
		issue(t, cert, key, 1, time.Now())
		expect(1, "at first")
		time.Sleep(time.Minute)
		issue(t, cert, key, 2, time.Now())
		expect(2, "renewed")
		issue(t, cert, key, 3, time.Now().Add(time.Second))
		expect(2, "looked at a moment ago")
		time.Sleep(3 * time.Second)
		expect(3, "looked at again")
		time.Sleep(time.Minute)
		write(t, key, []byte("half a k"), time.Now())
		expect(3, "the key is being written")
		time.Sleep(time.Minute)
		if err := os.Remove(cert); err != nil {
			t.Fatal(err)
		}
		expect(3, "the certificate is away")
		time.Sleep(time.Minute)
		issue(t, cert, key, 4, time.Now())
		expect(4, "back")
	})
}
