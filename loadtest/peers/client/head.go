package client

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// head is what the beginning of an answer says.
type head struct {
	size   int // bytes, the empty line included
	status int
	length int64 // of the body
	close  bool  // the server closes the connection after it
	found  bool  // the field looked for is there
}

// errMore says that the header's end has not come yet.
var errMore = errors.New("client: there is more to come")

// parseHead reads a status line and header fields (RFC 9112), looking for a field
// of the given name, too. Bodies without a length are refused: where they end
// cannot be told cheaply.
func parseHead(b []byte, field string) (head, error) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		return head{}, errMore
	}
	h := head{size: end + 4, length: -1, found: field == ""}
	line, rest, _ := bytes.Cut(b[:end], []byte("\r\n"))
	if len(line) < 12 || string(line[:7]) != "HTTP/1." || line[8] != ' ' {
		return h, errors.New("that is no status line of HTTP/1")
	}
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return h, errors.New("the status is no number")
		}
		h.status = h.status*10 + int(c-'0')
	}
	h.close = line[7] == '0'
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		colon := bytes.IndexByte(line, ':')
		if colon < 0 {
			return h, errors.New("a line of the header has no colon")
		}
		name, value := line[:colon], bytes.TrimSpace(line[colon+1:])
		switch {
		case is(name, "content-length"):
			h.length = 0
			for _, c := range value {
				if c < '0' || c > '9' || h.length > 1<<40 {
					return h, errors.New("the length is no number")
				}
				h.length = h.length*10 + int64(c-'0')
			}
		case is(name, "transfer-encoding"):
			return h, errors.New("only bodies with a Content-Length can be measured")
		case is(name, "connection"):
			h.close = is(value, "close")
		}
		h.found = h.found || is(name, field)
	}
	if h.length < 0 {
		return h, errors.New("only bodies with a Content-Length can be measured")
	}
	return h, nil
}

func is(b []byte, word string) bool {
	return len(b) == len(word) && strings.EqualFold(string(b), word)
}

// check tells what is wrong with an answer of which some bytes of the body are
// there; errMore when these do not tell yet.
func (w *Want) check(h *head, body []byte) error {
	switch {
	case h.status != w.Status:
		return fmt.Errorf("want status %d", w.Status)
	case h.length < w.MinBody || h.length > w.MaxBody:
		return fmt.Errorf("want %d to %d bytes", w.MinBody, w.MaxBody)
	case !h.found:
		return fmt.Errorf("want the field %s", w.Header)
	case w.Prefix == "":
		return nil
	case h.length < int64(len(w.Prefix)) || !bytes.HasPrefix([]byte(w.Prefix), body[:min(len(body), len(w.Prefix))]):
		return fmt.Errorf("want a body that begins with %q", w.Prefix)
	case len(body) < len(w.Prefix):
		return errMore
	}
	return nil
}
