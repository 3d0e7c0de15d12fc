package main

import (
	"bufio"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"gantry/wamp/auth"
)

func (a *app) userCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "user",
		Short: "Make what users log in with",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usageError{errors.New("user needs a subcommand: hash, key")}
		},
	}
	cmd.AddCommand(a.userHashCommand(), a.userKeyCommand())
	return cmd
}

func (a *app) userHashCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "hash",
		Short: "Turn a password into what the gateway stores",
		Long: `Reads a password from standard input and prints one line for each method: proofs of
the password that do not tell it. Put them into a file that only the gateway can
read, and name it in the user's table: stored = "file:/etc/gantry/ann.stored".
` + exitCodesHelp,
		Example: `  gantry user hash > /etc/gantry/ann.stored`,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			password, err := a.readPassword()
			if err != nil {
				return err
			}
			forms, err := storedForms(password)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.out, strings.Join(forms, "\n"))
			return err
		},
	}
}

// readPassword reads a line without showing it, where it comes from a terminal.
func (a *app) readPassword() (auth.Secret, error) {
	if f, ok := a.in.(*os.File); ok {
		fd := int(f.Fd())
		if old, err := unix.IoctlGetTermios(fd, unix.TCGETS); err == nil {
			quiet := *old
			quiet.Lflag &^= unix.ECHO
			fmt.Fprint(a.err, "password: ")
			if err := unix.IoctlSetTermios(fd, unix.TCSETS, &quiet); err != nil {
				return auth.Secret{}, err
			}
			defer func() {
				// The terminal may be gone by now.
				_ = unix.IoctlSetTermios(fd, unix.TCSETS, old)
				fmt.Fprintln(a.err)
			}()
		}
	}
	line, err := bufio.NewReader(io.LimitReader(a.in, 4096)).ReadString('\n')
	if err != nil && err != io.EOF {
		return auth.Secret{}, err
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return auth.Secret{}, usageError{errors.New("the password is empty")}
	}
	return auth.NewSecret(line), nil
}

// storedForms returns the proofs of a password, a form for each method.
func storedForms(password auth.Secret) ([]string, error) {
	salt := func() []byte {
		b := make([]byte, 16)
		_, _ = rand.Read(b) // it never fails
		return b
	}
	argon2 := func(kdf auth.KDF) auth.Params {
		return auth.Params{KDF: kdf, Salt: salt(), Iterations: 3, Memory: 16384, KeyLen: 32}
	}
	scram, err := auth.DeriveSCRAM(password, argon2(auth.Argon2id13))
	if err != nil {
		return nil, err
	}
	field, err := auth.DeriveSCRAM(password, argon2(auth.Argon2id13Text))
	if err != nil {
		return nil, err
	}
	cra, err := auth.DeriveCRA(password, hex.EncodeToString(salt()), 10_000, 32)
	if err != nil {
		return nil, err
	}
	ticket, err := auth.HashTicket(password, argon2(auth.Argon2id13))
	if err != nil {
		return nil, err
	}
	return []string{scram.Text(), field.Text(), cra.Text(), ticket.Text()}, nil
}

func (a *app) userKeyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "key FILE",
		Short: "Make an Ed25519 key to log in with",
		Long: `Makes a private key for cryptosign, writes it to a new file that only its owner can
read, and prints the public key for keys in the user's table.
` + exitCodesHelp,
		Example: `  gantry user key ~/.gantry.key
  gantry call --user ann --key-file ~/.gantry.key gantry.gw.sys.device.list`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, words []string) error {
			public, private, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				return err
			}
			f, err := os.OpenFile(words[0], os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(f, hex.EncodeToString(private.Seed()))
			if err := errors.Join(err, f.Close()); err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.out, hex.EncodeToString(public))
			return err
		},
	}
}
