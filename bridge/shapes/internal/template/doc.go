// Package template evaluates the part of the Jinja template language that devices
// put into Home Assistant's discovery messages: expressions, conditions and
// assignments, with the usual filters. There are no loops, macros or access to
// anything but the variables given, so that a template ends after as many steps as
// it has words. What it does not know is an error when it is compiled.
//
// Source: Jinja 3 template designer documentation, and Home Assistant's pages
// "Templating" and "MQTT: using templates with the MQTT integration".
package template
