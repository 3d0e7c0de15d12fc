package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/spf13/cobra"
)

// mqttTimeout bounds each step towards an MQTT broker.
const mqttTimeout = 10 * time.Second

func (a *app) mqttCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "mqtt",
		Short: "Talk to an MQTT listener or broker",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usageError{errors.New("mqtt needs a subcommand: publish, map, parked")}
		},
	}
	cmd.AddCommand(a.mqttPublishCommand(), a.mqttMapCommand(), a.mqttParkedCommand())
	return cmd
}

func (a *app) mqttPublishCommand() *cobra.Command {
	var (
		broker, ca, user, passwordFile string
		qos                            uint8
		retain                         bool
	)
	cmd := &cobra.Command{
		Use:   "publish TOPIC MESSAGE",
		Short: "Publish one message over MQTT",
		Long: `Publishes one message over MQTT 3.1.1, by default to the gateway's own listener, as
a sensor would. With QoS 1 and 2 it waits for the acknowledgement. The password of
--user is in the environment, GANTRY_PASSWORD, or in a file; without TLS it goes over
the network as it is.
` + exitCodesHelp,
		Example: `  gantry mqtt publish sensors/hall/climate '{"temperature": 21.5}'
  gantry mqtt publish --broker broker.local:1883 --qos 1 site/mode night
  gantry mqtt publish --broker mqtts://gw.local:8883 --ca ca.pem --user ann --password-file ann.txt site/mode night`,
		Args: cobra.ExactArgs(2),
	}
	cmd.Flags().StringVar(&broker, "broker", "127.0.0.1:1883", "host:port of the listener or broker, or with mqtt:// mqtts:// ws:// wss:// before it")
	cmd.Flags().StringVar(&ca, "ca", "", "file with the certificates to trust with mqtts and wss")
	cmd.Flags().StringVar(&user, "user", "", "log in as this user")
	cmd.Flags().StringVar(&passwordFile, "password-file", "", "file with the password")
	cmd.Flags().Uint8Var(&qos, "qos", 0, "quality of service: 0, 1 or 2")
	cmd.Flags().BoolVar(&retain, "retain", false, "keep it as the topic's last message")
	cmd.RunE = func(cmd *cobra.Command, words []string) error {
		if qos > 2 {
			return usageError{errors.New("--qos takes 0, 1 or 2")}
		}
		if user == "" && passwordFile != "" {
			return usageError{errors.New("--password-file needs --user")}
		}
		at, err := brokerURL(broker)
		if err != nil {
			return err
		}
		opts := paho.NewClientOptions().
			AddBroker(at).
			// Otherwise it tries MQTT 3.1 as well whenever it is refused.
			SetProtocolVersion(4).
			SetAutoReconnect(false).
			SetConnectTimeout(mqttTimeout).
			SetWriteTimeout(mqttTimeout)
		if user != "" {
			password, err := a.password(passwordFile)
			if err != nil {
				return err
			}
			opts.SetUsername(user).SetPassword(password)
		}
		trusted, err := trust(ca)
		if err != nil {
			return usageError{fmt.Errorf("--ca: %w", err)}
		}
		if trusted != nil {
			opts.SetTLSConfig(trusted)
		}
		c := paho.NewClient(opts)
		if err := settle(cmd.Context(), c.Connect()); err != nil {
			return connectError{fmt.Errorf("connect to mqtt broker %s: %w", broker, err)}
		}
		defer c.Disconnect(250)
		if err := settle(cmd.Context(), c.Publish(words[0], qos, retain, words[1])); err != nil {
			return fmt.Errorf("publish to %s: %w", words[0], err)
		}
		return nil
	}
	return cmd
}

// brokerURL makes a URL of the flag --broker.
func brokerURL(at string) (string, error) {
	if !strings.Contains(at, "://") {
		at = "mqtt://" + at
	}
	u, err := url.Parse(at)
	if err != nil || u.Hostname() == "" || u.Port() == "" || u.User != nil || !slices.Contains([]string{"mqtt", "mqtts", "ws", "wss"}, u.Scheme) {
		return "", usageError{errors.New("--broker takes host:port, or mqtt:// mqtts:// ws:// wss:// with host:port")}
	}
	return at, nil
}

// settle waits for a step of the MQTT client. The library's own Wait may hang.
func settle(ctx context.Context, t paho.Token) error {
	timeout := time.NewTimer(mqttTimeout)
	defer timeout.Stop()
	select {
	case <-t.Done():
		return t.Error()
	case <-timeout.C:
		return errors.New("no answer within 10 s")
	case <-ctx.Done():
		return ctx.Err()
	}
}
