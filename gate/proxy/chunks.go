package proxy

import "errors"

var (
	errChunkSize      = errors.New("chunk size")
	errChunkExtension = errors.New("chunk extension")
	errChunkEnd       = errors.New("chunk that does not end in CRLF")
	errTrailer        = errors.New("trailer")
	errTrailersLong   = errors.New("trailers too long")
)

const (
	maxChunkDigits = 15      // of a size: below 2^60
	maxChunkLine   = 1 << 10 // a size with its extensions
	maxTrailers    = 8 << 10 // all of them
)

// chunks follows the chunks of a request's body through the stream, byte by byte
// but for the data (RFC 9112, 7.1). It takes the grammar at its word, without the
// blanks that it allows for the sake of old programs: whatever another reader
// might count differently is refused.
type chunks struct {
	state chunkState
	left  int // of the size's data
	line  int // bytes of this line, or of the trailers
	last  bool

	trailers []byte // as they came, blank line included
}

type chunkState uint8

const (
	inSize      chunkState = iota // line digits so far
	inExtension                   // behind the semicolon: a name begins
	inName
	inValue // behind the equals sign: a value begins
	inToken
	inQuotes
	inEscape
	afterQuotes
	sizeLF
	inData
	dataCR
	dataLF
	trailerStart
	inTrailerName
	inTrailerValue
	trailerLF
	endLF
	chunksEnd
)

// feed takes what was received and tells how much of it belongs to the body. Done
// says that the body has ended there.
func (k *chunks) feed(b []byte) (used int, done bool, err error) {
	for i := 0; i < len(b); i++ {
		if k.state == inData {
			n := min(k.left, len(b)-i)
			k.left -= n
			i += n - 1
			if k.left == 0 {
				k.state = dataCR
			}
			continue
		}
		if err := k.step(b[i]); err != nil {
			return i, false, err
		}
		if k.state == chunksEnd {
			return i + 1, true, nil
		}
	}
	return len(b), false, nil
}

// step takes one byte of what is around the data.
func (k *chunks) step(c byte) error {
	switch k.state {
	case inSize:
		if d := unhex(c); d >= 0 {
			if k.line++; k.line > maxChunkDigits {
				return errChunkSize
			}
			k.left = k.left<<4 | d
			return nil
		}
		if k.line == 0 {
			return errChunkSize
		}
		k.last = k.left == 0
		switch c {
		case '\r':
			k.state = sizeLF
		case ';':
			k.state = inExtension
		default:
			return errChunkSize
		}
	case sizeLF:
		if c != '\n' {
			return errChunkSize
		}
		k.line = 0
		k.state = inData
		if k.last {
			k.state = trailerStart
		}
	case dataCR:
		if c != '\r' {
			return errChunkEnd
		}
		k.state = dataLF
	case dataLF:
		if c != '\n' {
			return errChunkEnd
		}
		k.state = inSize
	case trailerStart, inTrailerName, inTrailerValue, trailerLF, endLF:
		return k.trailer(c)
	default:
		return k.extension(c)
	}
	return nil
}

// extension takes a byte of ;name, ;name=value or ;name="value".
func (k *chunks) extension(c byte) error {
	if k.line++; k.line > maxChunkLine {
		return errChunkExtension
	}
	switch {
	case k.state == inEscape && text[c]:
		k.state = inQuotes
	case k.state == inQuotes && c == '"':
		k.state = afterQuotes
	case k.state == inQuotes && c == '\\':
		k.state = inEscape
	case k.state == inQuotes && text[c]:
	case k.state == inValue && c == '"':
		k.state = inQuotes
	case k.state == inExtension && token[c]:
		k.state = inName
	case k.state == inValue && token[c]:
		k.state = inToken
	case (k.state == inName || k.state == inToken) && token[c]:
	case k.state == inName && c == '=':
		k.state = inValue
	case (k.state == inName || k.state == inToken || k.state == afterQuotes) && c == ';':
		k.state = inExtension
	case (k.state == inName || k.state == inToken || k.state == afterQuotes) && c == '\r':
		k.state = sizeLF
	default:
		return errChunkExtension
	}
	return nil
}

// trailer takes a byte of the lines behind the last chunk. Which names may stand
// there is fasthttp's to say, who reads them too.
func (k *chunks) trailer(c byte) error {
	if k.line++; k.line > maxTrailers {
		return errTrailersLong
	}
	k.trailers = append(k.trailers, c)
	switch {
	case k.state == trailerStart && c == '\r':
		k.state = endLF
	case k.state == endLF && c == '\n':
		k.state = chunksEnd
	case (k.state == trailerStart || k.state == inTrailerName) && token[c]:
		k.state = inTrailerName
	case k.state == inTrailerName && c == ':':
		k.state = inTrailerValue
	case k.state == inTrailerValue && c == '\r':
		k.state = trailerLF
	case k.state == inTrailerValue && text[c]:
	case k.state == trailerLF && c == '\n':
		k.state = trailerStart
	default:
		return errTrailer
	}
	return nil
}
