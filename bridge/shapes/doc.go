// Package shapes makes devices of what announces itself over MQTT: Home Assistant's
// discovery messages, Zigbee2MQTT, Tasmota, and Shelly from the second generation on.
//
// A [Host] stands for one broker. It is a drivers.Finder: what it finds are devices
// with drivers like any other, so that quality, validation, rules, audit and state
// are those of the hub. What the messages mean is known to the shapes in internal/,
// which are state machines without socket or clock; a Host gives them the messages
// and carries out what they answer.
//
// Commands are sent at QoS 0 and never kept: a device or broker that is away does not
// get them later.
package shapes
