package page

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"

	"github.com/klauspost/compress/flate"
)

// How a compressed answer is made without compressing: RFC 1951 allows a
// stream to mix compressed and stored blocks, and a flush ends a piece with an
// empty stored block, on a byte border. Each piece of text is compressed once,
// by itself, so that nothing in it refers to bytes before it; the length of
// its closing stored block is left off, and a visitor's own bytes go there.
// The checksum over everything is put together from those of the pieces.

const gzipHead = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff" // RFC 1952: deflate, no name, no time, best, unknown system

const maxStored = 1<<16 - 1 // bytes in one stored block

// AppendGzip appends the document for v as one gzip member. It compresses
// nothing and does not allocate when dst has room.
func (p *Page) AppendGzip(dst []byte, v *View) []byte {
	dst = append(dst, gzipHead...)
	parts := p.doc(v).parts
	sum, size := uint32(0), 0
	for i := range parts {
		t := &parts[i]
		sum = t.join(sum)
		dst = append(dst, t.zip...)

		at := len(dst)
		dst = append(dst, 0, 0, 0xff, 0xff)
		dst = p.appendHole(dst, t.hole, v)
		n := len(dst) - at - 4
		size += len(t.text) + n
		if n == 0 {
			continue
		}
		sum = crc32.Update(sum, crc32.IEEETable, dst[at+4:])
		if n > maxStored {
			dst = splitStored(dst, at)
			continue
		}
		binary.LittleEndian.PutUint16(dst[at:], uint16(n))
		binary.LittleEndian.PutUint16(dst[at+2:], ^uint16(n))
	}
	dst = append(dst, 1, 0, 0, 0xff, 0xff) // the final block, empty
	dst = binary.LittleEndian.AppendUint32(dst, sum)
	return binary.LittleEndian.AppendUint32(dst, uint32(size))
}

// splitStored spreads what follows the stored block's length at dst[at:] over
// as many blocks as it needs. Only absurdly long paths and messages come here.
func splitStored(dst []byte, at int) []byte {
	rest := bytes.Clone(dst[at+4:])
	dst = dst[:at]
	for {
		n := min(len(rest), maxStored)
		dst = binary.LittleEndian.AppendUint16(dst, uint16(n))
		dst = binary.LittleEndian.AppendUint16(dst, ^uint16(n))
		dst = append(dst, rest[:n]...)
		if rest = rest[n:]; len(rest) == 0 {
			return dst
		}
		dst = append(dst, 0) // a stored block that is not the last
	}
}

// packer compresses each distinct piece once: the style sheet and the script
// are most of every document and the same in all of them.
type packer struct {
	w    *flate.Writer
	done map[string]part
}

func newPacker() *packer {
	w, err := flate.NewWriter(nil, flate.BestCompression)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return &packer{w, map[string]part{}}
}

func (k *packer) part(text string, h hole) part {
	t, ok := k.done[text]
	if !ok {
		t = k.pack(text)
		k.done[text] = t
	}
	t.hole = h
	return t
}

func (k *packer) pack(text string) part {
	var b bytes.Buffer
	k.w.Reset(&b)
	k.w.Write([]byte(text)) // into memory: cannot fail
	k.w.Flush()
	zip, ok := bytes.CutSuffix(b.Bytes(), []byte{0, 0, 0xff, 0xff})
	if !ok {
		panic("BUG: a flush that does not end in an empty stored block")
	}
	t := part{text: text, zip: string(zip), crc: crc32.ChecksumIEEE([]byte(text))}
	// far[k] is the polynomial x^(8 len(text)) times that of bit k, so that
	// joining checksums is a sum over the bits that are set.
	b1 := xPow8(len(text))
	for k := 31; k >= 0; k-- {
		t.far[k] = b1
		b1 = timesX(b1)
	}
	return t
}

// join returns the checksum of the bytes that sum was taken of, followed by
// the piece's text: crc(A B) = crc(A) x^(8 len B) + crc(B) modulo the CRC's
// polynomial, as in crc32_combine of zlib.
func (t *part) join(sum uint32) uint32 {
	out := t.crc
	for k := range t.far {
		out ^= t.far[k] & -(sum >> k & 1)
	}
	return out
}

// timesX multiplies by x, xPow8 raises x to 8n, modulo the polynomial of
// hash/crc32.IEEE. Polynomials are bit-reversed: the highest bit is x^0.
func timesX(a uint32) uint32 {
	return a>>1 ^ crc32.IEEE&-(a&1)
}

func times(a, b uint32) (out uint32) {
	for m := uint32(1) << 31; m != 0; m >>= 1 {
		if a&m != 0 {
			out ^= b
		}
		b = timesX(b)
	}
	return out
}

func xPow8(n int) uint32 {
	out, base := uint32(1)<<31, uint32(1)<<23 // x^0, x^8
	for ; n > 0; n >>= 1 {
		if n&1 != 0 {
			out = times(out, base)
		}
		base = times(base, base)
	}
	return out
}
