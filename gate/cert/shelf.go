package cert

import (
	"crypto/tls"
	"errors"
	"strings"
)

var errNoCertificate = errors.New("cert: there is no certificate for that name yet")

// shelf is which certificates there are. It does not change.
type shelf struct {
	all  []*tls.Certificate
	by   map[string][]*tls.Certificate // by name as it stands in them, in lower case
	acme map[string]*tls.Certificate   // nil values: there is none yet
}

func newShelf(files []*tls.Certificate, acme map[string]*tls.Certificate) *shelf {
	s := &shelf{all: files, by: make(map[string][]*tls.Certificate), acme: acme}
	for _, c := range files {
		for _, name := range names(c) {
			name = strings.ToLower(name)
			s.by[name] = append(s.by[name], c)
		}
	}
	return s
}

// find returns the certificate for a visitor: of the name, then of *. and the rest
// of it, then the first there is. Of several for one name the first that the
// visitor's browser can use.
func (s *shelf) find(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	found := s.by[name]
	if c, ok := s.acme[name]; ok {
		if c == nil && len(found) == 0 {
			return nil, errNoCertificate
		} else if c != nil {
			return c, nil
		}
	}
	if len(found) == 0 {
		if _, rest, ok := strings.Cut(name, "."); ok {
			found = s.by["*."+rest]
		}
	}
	if len(found) == 0 {
		found = s.all
	}
	for _, c := range found {
		if hello.SupportsCertificate(c) == nil {
			return c, nil
		}
	}
	if len(found) == 0 {
		return nil, errNoCertificate
	}
	return found[0], nil
}

// covers tells whether some certificate is for that host.
func (s *shelf) covers(host string) bool {
	if _, ok := s.acme[host]; ok || len(s.by[host]) > 0 {
		return true
	}
	_, rest, ok := strings.Cut(host, ".")
	return ok && len(s.by["*."+rest]) > 0
}
