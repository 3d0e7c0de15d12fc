// Package hass shows the gateway's devices to Home Assistant: a discovery message for
// each, with the states of its points, whether it is there, and commands. It is a
// component that needs nothing but a session and a broker ([bridge.Guest]).
//
// Source: www.home-assistant.io/integrations/mqtt, "MQTT discovery", "Device discovery
// payload", and the pages of the components.
package hass
