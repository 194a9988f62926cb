package route

import "bytes"

// Why tells in a few words what a target that Find refused is refused for: the first
// thing in it that origins read in different ways. It looks at spelling alone, so it
// is of use only after Find.
func Why(target []byte) string {
	path, _, _ := bytes.Cut(target, []byte("?"))
	if len(path) > long {
		return "the path is too long to be weighed"
	}
	why := ""
	first := func(words string) {
		if why == "" {
			why = words
		}
	}
	beyond := false
	start := 0 // of the segment
	for i := 0; i < len(path); {
		c, n := decodeOne(path[i:])
		border := c == '/' && n == 1
		if border && i > 0 {
			switch {
			case i == start:
				first("an empty segment (//) in the path")
			case dots(path[start:i]):
				return dotSegment
			}
		}
		i += n
		switch {
		case border:
			start = i
		case c == '/': // what no room lets through goes before what some do
			return "an encoded slash (%2F) in the path"
		case c == '\\':
			return "a backslash in the path"
		case c < ' ' || c == 0x7f:
			return "a control character in the path"
		case c == ' ' && n == 1:
			return "a space in the path"
		case c == ';':
			first("parameters (;) in the path")
		case c == '#':
			first("a number sign (#) in the path")
		case c == '%' && n > 1:
			first("an encoded percent sign (%25) in the path")
		}
		beyond = beyond || c >= 0x80
	}
	switch {
	case dots(path[start:]):
		return dotSegment
	case why != "":
		return why
	case beyond:
		return "characters beyond ASCII in the path that some take for others"
	}
	return "the path, or the host, is spelled almost as that of a room or an exception: in another case, with needless encoding, dots or blanks"
}

const dotSegment = "a dot segment (/./ or /../) in the path"

// dots tells whether a segment is one dot or two, encoded or not.
func dots(segment []byte) bool {
	n := 0
	for ; len(segment) > 0; n++ {
		c, size := decodeOne(segment)
		if c != '.' {
			return false
		}
		segment = segment[size:]
	}
	return n == 1 || n == 2
}
