package gpio

import (
	"testing"
	"unsafe"

	"gantry/internal/ioctl/ioctltest"
)

// TestKernelHeader compares structures, flags and ioctl numbers with the kernel's
// header, as a C compiler sees them.
func TestKernelHeader(t *testing.T) {
	t.Parallel()
	ioctltest.Header(t, "linux/gpio.h", map[string]uintptr{
		"sizeof(struct gpiochip_info)":                             unsafe.Sizeof(chipInfo{}),
		"sizeof(struct gpio_v2_line_info)":                         unsafe.Sizeof(lineInfo{}),
		"sizeof(struct gpio_v2_line_request)":                      unsafe.Sizeof(lineRequest{}),
		"sizeof(struct gpio_v2_line_values)":                       unsafe.Sizeof(lineValues{}),
		"sizeof(struct gpio_v2_line_event)":                        uintptr(eventSize),
		"offsetof(struct gpiochip_info, lines)":                    unsafe.Offsetof(chipInfo{}.Lines),
		"offsetof(struct gpio_v2_line_info, flags)":                unsafe.Offsetof(lineInfo{}.Flags),
		"offsetof(struct gpio_v2_line_request, config)":            unsafe.Offsetof(lineRequest{}.Config),
		"offsetof(struct gpio_v2_line_request, num_lines)":         unsafe.Offsetof(lineRequest{}.NumLines),
		"offsetof(struct gpio_v2_line_request, event_buffer_size)": unsafe.Offsetof(lineRequest{}.EventBufferSize),
		"offsetof(struct gpio_v2_line_request, fd)":                unsafe.Offsetof(lineRequest{}.FD),
		"offsetof(struct gpio_v2_line_config, num_attrs)":          unsafe.Offsetof(lineConfig{}.NumAttrs),
		"offsetof(struct gpio_v2_line_config, attrs)":              unsafe.Offsetof(lineConfig{}.Attrs),
		"offsetof(struct gpio_v2_line_config_attribute, mask)":     unsafe.Offsetof(lineConfigAttribute{}.Mask),
		"offsetof(struct gpio_v2_line_attribute, values)":          unsafe.Offsetof(lineAttribute{}.Value),
		"offsetof(struct gpio_v2_line_event, id)":                  unsafe.Offsetof(lineEvent{}.ID),
		"offsetof(struct gpio_v2_line_event, line_seqno)":          unsafe.Offsetof(lineEvent{}.LineSeqno),
		"GPIO_GET_CHIPINFO_IOCTL":                                  getChipInfo,
		"GPIO_V2_GET_LINEINFO_IOCTL":                               getLineInfo,
		"GPIO_V2_GET_LINE_IOCTL":                                   getLine,
		"GPIO_V2_LINE_GET_VALUES_IOCTL":                            getValues,
		"GPIO_V2_LINE_SET_VALUES_IOCTL":                            setValues,
		"GPIO_V2_LINE_FLAG_ACTIVE_LOW":                             flagActiveLow,
		"GPIO_V2_LINE_FLAG_INPUT":                                  flagInput,
		"GPIO_V2_LINE_FLAG_OUTPUT":                                 flagOutput,
		"GPIO_V2_LINE_FLAG_EDGE_RISING":                            flagRising,
		"GPIO_V2_LINE_FLAG_EDGE_FALLING":                           flagFalling,
		"GPIO_V2_LINE_FLAG_OPEN_DRAIN":                             flagOpenDrain,
		"GPIO_V2_LINE_FLAG_OPEN_SOURCE":                            flagOpenSource,
		"GPIO_V2_LINE_FLAG_BIAS_PULL_UP":                           flagPullUp,
		"GPIO_V2_LINE_FLAG_BIAS_PULL_DOWN":                         flagPullDown,
		"GPIO_V2_LINE_FLAG_BIAS_DISABLED":                          flagNoBias,
		"GPIO_V2_LINE_FLAG_EVENT_CLOCK_REALTIME":                   flagRealtime,
		"GPIO_V2_LINE_ATTR_ID_OUTPUT_VALUES":                       attrOutputValues,
		"GPIO_V2_LINE_ATTR_ID_DEBOUNCE":                            attrDebounce,
		"GPIO_V2_LINE_EVENT_RISING_EDGE":                           eventRising,
	})
}
