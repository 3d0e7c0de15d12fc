package main

import (
	"context"
	"errors"
	"fmt"
	"net"
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
		broker string
		qos    uint8
		retain bool
	)
	cmd := &cobra.Command{
		Use:   "publish TOPIC MESSAGE",
		Short: "Publish one message over MQTT",
		Long: `Publishes one message over MQTT 3.1.1, by default to the gateway's own listener, as
a sensor would. With QoS 1 it waits for the acknowledgement.
` + exitCodesHelp,
		Example: `  gantry mqtt publish sensors/hall/climate '{"temperature": 21.5}'
  gantry mqtt publish --broker broker.local:1883 --qos 1 site/mode night`,
		Args: cobra.ExactArgs(2),
	}
	cmd.Flags().StringVar(&broker, "broker", "127.0.0.1:1883", "host:port of the listener or broker")
	cmd.Flags().Uint8Var(&qos, "qos", 0, "quality of service: 0 or 1")
	cmd.Flags().BoolVar(&retain, "retain", false, "keep it as the topic's last message")
	cmd.RunE = func(cmd *cobra.Command, words []string) error {
		if qos > 1 {
			return usageError{errors.New("--qos takes 0 or 1")}
		}
		if _, _, err := net.SplitHostPort(broker); err != nil {
			return usageError{fmt.Errorf("--broker takes host:port: %w", err)}
		}
		c := paho.NewClient(paho.NewClientOptions().
			AddBroker("tcp://" + broker).
			SetAutoReconnect(false).
			SetConnectTimeout(mqttTimeout).
			SetWriteTimeout(mqttTimeout))
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
