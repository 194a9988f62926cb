package page

// moment is what the page looks like: the visitor's state, as far as the
// document's shape depends on it. The script uses the same names, and three of
// its own that no answer starts with: in, ended and blocked.
type moment uint8

const (
	momentWaiting     moment = iota // in line
	momentNext                      // first in line
	momentUnknown                   // in line, position not known
	momentFull                      // no place
	momentClosed                    // room closed, no place
	momentKept                      // room closed, place kept
	momentUnavailable               // origin does not answer, asks again by itself
	momentUnsure                    // origin did not answer something that must not be repeated
	momentUnsent                    // origin could not be sent something that must not be repeated by itself
	momentRefused                   // not a request we take
	momentMissing                   // nothing there
	momentLarge                     // a body that is too large
	momentLong                      // an address that is too long
	momentCrammed                   // header fields that are too many or too long: cookies, mostly
	numMoments
)

var momentNames = [numMoments]string{
	"waiting", "next", "unknown", "full", "closed", "kept", "unavailable", "unsure", "unsent", "refused", "missing", "large", "long", "crammed",
}

func (m moment) inLine() bool { return m <= momentUnknown || m == momentKept }

// polls reports whether the page asks the visitor API.
func (m moment) polls() bool { return m <= momentKept }

// goesOn reports whether the page does anything by itself.
func (m moment) goesOn() bool { return m <= momentUnavailable }

// docs holds the document of every language, moment and flag. The flag is
// "nothing was sent" where the page polls, "has a pass" on momentUnavailable.
type docs [numLangs][numMoments][2]*doc

func (p *Page) doc(v *View) *doc {
	l := v.Lang
	if uint(l) >= numLangs {
		l = 0
	}
	m, flag := v.moment()
	return p.docs[l][m][flag]
}

func (v *View) moment() (m moment, flag int) {
	if v.Next != "" || v.State == NotSent {
		flag = 1
	}
	switch v.State {
	case Full:
		return momentFull, flag
	case Closed:
		if v.HasPlace {
			return momentKept, flag
		}
		return momentClosed, flag
	case Unavailable:
		if v.Next != "" && v.Unsent {
			return momentUnsent, 0
		}
		if v.Next != "" {
			return momentUnsure, 0
		}
		if v.HasPlace {
			return momentUnavailable, 1
		}
		return momentUnavailable, 0
	case BadRequest:
		switch v.Status {
		case 404:
			return momentMissing, 0
		case 413:
			return momentLarge, 0
		case 414:
			return momentLong, 0
		case 431:
			return momentCrammed, 0
		}
		return momentRefused, 0
	}
	switch v.Position {
	case 0:
		return momentUnknown, flag
	case 1:
		return momentNext, flag
	}
	return momentWaiting, flag
}
