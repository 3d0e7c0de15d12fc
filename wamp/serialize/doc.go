// Package serialize turns WAMP messages into bytes and back, in JSON, MsgPack
// (MessagePack) and CBOR (RFC 8949).
//
// A [Decoder] proves a whole message well formed in one pass, reads its head into
// a struct and leaves the arguments as bytes. [Append] splices those bytes into
// another message, or transcodes them token by token where the receiver speaks
// another format. Only who consumes a payload decodes it: [Values], [Arg],
// [Kwargs].
//
// # What is well formed
//
// Text is UTF-8; JSON surrogates come in pairs. Map keys are text. Every length
// is checked against the bytes that are left before it is used, and nesting and
// elements against [Limits]. MsgPack extension types are refused, and so are
// CBOR bignums (tags 2 and 3), negative CBOR integers below the range of 64 bits
// and simple values without a meaning. Other CBOR tags and indefinite lengths
// are accepted. Keys that come twice are refused in options and details and
// allowed in payloads.
//
// # Values from one format to another
//
//   - Bytes become a JSON text of NUL and strict, padded base64, at any depth;
//     such a text becomes bytes. If what follows the NUL is not canonical base64,
//     conversion fails. A text that begins with NUL has no form in JSON. Map keys
//     are never bytes.
//   - Integers stay integers in the ranges of int64 and uint64; JSON integers
//     beyond become floats.
//   - Floats stay floats: JSON gets the shortest digits that read back equal, with
//     ".0" if there is no fraction. A float32 stays one between MsgPack and CBOR;
//     CBOR's float16 becomes float32. NaN and infinities have no form in JSON; a
//     JSON number beyond float64 has none elsewhere.
//   - CBOR's undefined becomes null, its tags vanish, and indefinite lengths become
//     definite.
//
// Between equal formats the bytes are copied and nothing of this applies.
package serialize
