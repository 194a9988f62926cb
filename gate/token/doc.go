// Package token makes and checks what a visitor carries: a ticket while they
// wait, a pass once they are let in. The place in line travels in the token, so
// a line survives the loss of its store.
//
// # Layout
//
// A token is 69 bytes, big-endian, written as 92 characters of base64url without
// padding. 69 is a multiple of three: no bits are left over, so there is exactly
// one spelling of each token.
//
//	bytes  field       what it is
//	0      version     1
//	1      kind        1 ticket, 2 pass; 0x80 added: provisional pass
//	2-4    key id      24 bits derived from the key
//	5-8    room        RoomID of the room's name
//	9-12   generation  of the store when issued
//	13-19  place       room time in microseconds, below 2^53
//	20-27  id          the visitor's id
//	28-34  issued      last-seen stamp, as place
//	35-41  until       pass: valid to; as place
//	42-48  called      pass: when called; as place
//	49-50  low         first estimate told, seconds after place
//	51-52  high        likewise; 0: none told yet
//	53-68  MAC         first 16 bytes of HMAC-SHA-256 over bytes 0-52
//
// The signed part and SHA-256's padding fit one block (up to 55 bytes do), so that
// a MAC costs two compressions once the key's two states are computed.
//
// # Keys
//
// From every secret two values are derived with HKDF-SHA-256 (RFC 5869, no salt):
// the MAC key with the info "sluice token 1 mac", 32 bytes, and the key id with
// "sluice token 1 key id", 3 bytes. The id does not depend on the secret's place
// in the list, so a secret may be added last, moved first and have its
// predecessor dropped while tokens of either stay valid. Where two keys have one
// id both are tried.
//
// # What it protects
//
// Nobody without a secret can make a token or change one: not the place, not the
// room, not how long a pass is valid. A token is signed, not encrypted: whoever
// holds one can read all of it. That tells them when they came, and nothing about
// others; ids are random.
//
// A token is a bearer's: it can be copied, and it says nothing of its own end.
// One slot per ticket, expiry, the room it is good for and whether it was used
// are for the caller and the store to judge. Verify says that we issued it.
package token
