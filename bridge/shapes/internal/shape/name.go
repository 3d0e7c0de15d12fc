package shape

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
)

// maxName is the length of a URI component that the hub takes.
const maxName = 64

// folds are the letters that have a usual spelling in ASCII.
var folds = strings.NewReplacer("ä", "ae", "ö", "oe", "ü", "ue", "ß", "ss", "Ä", "ae", "Ö", "oe", "Ü", "ue",
	"é", "e", "è", "e", "ê", "e", "á", "a", "à", "a", "â", "a", "å", "a", "ø", "o", "ó", "o", "ô", "o", "ç", "c", "ñ", "n", "í", "i", "ú", "u", "²", "2", "³", "3")

// Name makes a name of a-z 0-9 _ out of any text: letters in lower case, everything
// else a single _. It is empty if nothing is left.
func Name(s string) string {
	var b strings.Builder
	gap := false
	for _, c := range []byte(strings.ToLower(folds.Replace(s))) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			gap = b.Len() > 0
			continue
		}
		if gap {
			b.WriteByte('_')
			gap = false
		}
		b.WriteByte(c)
	}
	name := b.String()
	return strings.TrimRight(name[:min(len(name), maxName)], "_")
}

// Names gives each key a name of its own. Of several keys that want the same name,
// the first in their order has it; the others get a suffix that depends on the key
// alone, so that the outcome is the same in whatever order they came.
func Names(wanted map[string]string) map[string]string {
	keys := make([]string, 0, len(wanted))
	for k := range wanted {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	taken := make(map[string]bool, len(keys))
	out := make(map[string]string, len(keys))
	for _, k := range keys {
		name := Name(wanted[k])
		if name == "" {
			name = "x"
		}
		if taken[name] {
			name = Suffixed(name, k)
		}
		taken[name] = true
		out[k] = name
	}
	return out
}

// Suffixed appends to a name what tells key from others of the same name.
func Suffixed(name, key string) string {
	h := fnv.New32a()
	h.Write([]byte(key))
	return fmt.Sprintf("%s_%08x", name[:min(len(name), maxName-9)], h.Sum32())
}
