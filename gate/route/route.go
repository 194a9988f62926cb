package route

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
)

// Match says what belongs to a room.
type Match struct {
	Host string // exact, or "*.shop.example"; empty means every host
	Path string // decoded prefix on segment borders; empty means "/"
}

// Except takes requests out of a room. It applies when all it names agree; an
// empty field names nothing.
type Except struct {
	Path    string         // as in Match, within one of the room's matches
	Methods []string       // exact: GET does not stand for HEAD
	Sources []netip.Prefix // of the visitor's address
	Static  bool           // static files, see StaticFolders; names nothing else then
}

// Room is a room's share of the configuration. Find names it by its index.
type Room struct {
	Name       string
	Match      []Match
	Except     []Except
	IgnoreCase bool // match_case: false
}

// Verdict is what Find made of a request.
type Verdict uint8

const (
	Ungated  Verdict = iota // in no room in any reading
	Gated                   // in the room in every reading
	Excepted                // in the room, and taken out by one of its exceptions
	Refused                 // malformed, or readings disagree: answer 400
)

func (v Verdict) String() string {
	switch v {
	case Ungated:
		return "ungated"
	case Gated:
		return "gated"
	case Excepted:
		return "excepted"
	case Refused:
		return "refused"
	}
	return fmt.Sprintf("verdict %d", uint8(v))
}

// Table answers Find. It is immutable and safe for concurrent use.
type Table struct {
	rooms    []room
	exact    map[string]*site
	wild     map[string]*site // by the name below the star, "shop.example"
	anywhere *site            // rules without a host
	hosted   *site            // every rule with a host; nil when there is none
	v6       bool             // some rule's host is an IPv6 literal
}

type room struct {
	ignoreCase bool
	except     []exception
}

type exception struct {
	path    *prefix // nil: any
	methods []string
	sources []netip.Prefix
	static  bool
}

func (e *exception) names(method []byte, source netip.Addr) bool {
	if len(e.methods) > 0 && !slices.ContainsFunc(e.methods, func(m string) bool { return m == string(method) }) {
		return false
	}
	if len(e.sources) == 0 {
		return true
	}
	source = source.Unmap().WithZone("")
	return slices.ContainsFunc(e.sources, func(p netip.Prefix) bool { return p.Contains(source) })
}

// prefix is a path of the configuration. The root has no segments.
type prefix struct {
	path       string   // as written, without a trailing slash; "" is the root
	lower      []rune   // of path, for rooms that ignore case
	skeleton   string   // "/a/b"
	segments   []string // of the skeleton
	ignoreCase bool
}

// rule is one match of one room as it stands in a site.
type rule struct {
	prefix
	host  string
	room  int
	match int
}

// site is what applies on one host: rules in order of precedence and an index
// of them by the hash of their skeleton.
type site struct {
	rules   []rule
	root    int // first rule for "/", or len(rules)
	longest int // bytes of the longest skeleton
	mask    uint64
	slots   []slot
}

type slot struct {
	hash  uint64
	rules []int // with this skeleton, in order; nil: free
}

// Problem is one thing wrong with the rooms, and where. New joins them with
// errors.Join.
type Problem struct {
	Room   int
	Match  int // -1: not about a match
	Except int // -1: not about an exception
	Field  string
	Err    error
}

func (p Problem) Error() string {
	at := fmt.Sprintf("rooms[%d]", p.Room)
	if p.Match >= 0 {
		at += fmt.Sprintf(".match[%d]", p.Match)
	}
	if p.Except >= 0 {
		at += fmt.Sprintf(".except[%d]", p.Except)
	}
	if p.Field != "" {
		at += "." + p.Field
	}
	return at + ": " + p.Err.Error()
}

func (p Problem) Unwrap() error { return p.Err }

// New compiles the rooms. Its error joins a Problem for everything wrong.
func New(rooms []Room) (*Table, error) {
	loadFolds()
	var problems []Problem
	add := func(p Problem) { problems = append(problems, p) }

	t := &Table{exact: map[string]*site{}, wild: map[string]*site{}}
	var rules []rule
	type place struct{ host, skeleton string }
	seen := map[place]rule{}
	for i, r := range rooms {
		if len(r.Match) == 0 {
			add(Problem{i, -1, -1, "match", errors.New("a room without a match can never apply")})
		}
		for j, m := range r.Match {
			host, err := hostPattern(m.Host)
			if err != nil {
				add(Problem{i, j, -1, "host", err})
			}
			p, perr := newPrefix(m.Path, r.IgnoreCase)
			if perr != nil {
				add(Problem{i, j, -1, "path", perr})
			}
			if err != nil || perr != nil {
				continue
			}
			ru := rule{prefix: *p, host: host, room: i, match: j}
			if old, ok := seen[place{host, p.skeleton}]; ok {
				add(Problem{i, j, -1, "path", sameMatch(rooms, old, ru)})
				continue
			}
			seen[place{host, p.skeleton}] = ru
			rules = append(rules, ru)
		}
	}
	slices.SortStableFunc(rules, func(a, b rule) int {
		return cmp.Or(-cmp.Compare(hostRank(a.host), hostRank(b.host)), -cmp.Compare(len(a.skeleton), len(b.skeleton)))
	})

	for i, r := range rooms {
		ro := room{ignoreCase: r.IgnoreCase}
		for k, e := range r.Except {
			ex, bad := newException(r, rules, i, e)
			for _, p := range bad {
				p.Room, p.Match, p.Except = i, -1, k
				add(p)
			}
			ro.except = append(ro.except, ex)
		}
		t.rooms = append(t.rooms, ro)
	}
	if len(problems) > 0 {
		slices.SortStableFunc(problems, func(a, b Problem) int {
			return cmp.Or(cmp.Compare(a.Room, b.Room), cmp.Compare(a.Except, b.Except), cmp.Compare(a.Match, b.Match))
		})
		errs := make([]error, len(problems))
		for i, p := range problems {
			errs[i] = p
		}
		return nil, errors.Join(errs...)
	}

	on := func(name string) *site { return newSite(rules, func(r rule) bool { return covers(r.host, name) }) }
	for _, r := range rules {
		switch {
		case r.host == "":
		case strings.HasPrefix(r.host, "*."):
			t.wild[r.host[2:]] = on(r.host)
		default:
			t.exact[r.host] = on(r.host)
			t.v6 = t.v6 || r.host[0] == '['
		}
	}
	t.anywhere = newSite(rules, func(r rule) bool { return r.host == "" })
	if len(t.exact)+len(t.wild) > 0 {
		t.hosted = newSite(rules, func(r rule) bool { return r.host != "" })
	}
	return t, nil
}

func sameMatch(rooms []Room, old, ru rule) error {
	at := fmt.Sprintf("%q", old.host+cmp.Or(old.path, "/"))
	switch {
	case old.room == ru.room:
		return fmt.Errorf("match %d of this room is the same: %s", old.match, at)
	case old.path == ru.path:
		return fmt.Errorf("room %q has the same match: %s", rooms[old.room].Name, at)
	}
	return fmt.Errorf("%q cannot be told from %s of room %q by every origin", ru.host+cmp.Or(ru.path, "/"), at, rooms[old.room].Name)
}

// Methods are those of the IANA registry that can reach an origin, and PURGE.
var Methods = strings.Fields(`ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT COPY DELETE GET HEAD LABEL LINK LOCK MERGE
	MKACTIVITY MKCALENDAR MKCOL MKREDIRECTREF MKWORKSPACE MOVE OPTIONS ORDERPATCH PATCH POST PROPFIND PROPPATCH PURGE PUT
	QUERY REBIND REPORT SEARCH UNBIND UNCHECKOUT UNLINK UNLOCK UPDATE UPDATEREDIRECTREF VERSION-CONTROL`)

func newException(r Room, rules []rule, index int, e Except) (exception, []Problem) {
	var bad []Problem
	add := func(field, format string, args ...any) {
		bad = append(bad, Problem{Field: field, Err: fmt.Errorf(format, args...)})
	}
	if e.Static {
		if e.Path != "" || len(e.Methods)+len(e.Sources) > 0 {
			add("", "an exception of static files names nothing else")
		}
		return exception{methods: staticMethods, static: true}, bad
	}
	if e.Path == "" && len(e.Methods) == 0 && len(e.Sources) == 0 {
		add("", "an exception that names nothing can never apply")
		return exception{}, bad
	}
	ex := exception{methods: slices.Clone(e.Methods)}
	for _, m := range e.Methods {
		switch {
		case slices.Contains(Methods, m):
		case slices.Contains(Methods, strings.ToUpper(strings.TrimSpace(m))):
			add("methods", "method %q can never apply: write %s", m, strings.ToUpper(strings.TrimSpace(m)))
		default:
			add("methods", "unknown method %q", m)
		}
	}
	for _, p := range e.Sources {
		if !p.IsValid() {
			add("source", "invalid prefix %q", p)
			continue
		}
		if a := p.Addr(); a.Is4In6() {
			if p.Bits() < 96 {
				add("source", "prefix %s is wider than the IPv4-mapped addresses", p)
				continue
			}
			p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
		}
		ex.sources = append(ex.sources, p)
	}
	if e.Path == "" {
		return ex, bad
	}
	p, err := newPrefix(e.Path, r.IgnoreCase)
	if err != nil {
		add("path", "%w", err)
		return ex, bad
	}
	ex.path = p

	var under, reached, whole, all int
	var thief string
	for _, ru := range rules {
		if ru.room != index {
			continue
		}
		all++
		if p.segmentsEqual(&ru.prefix) {
			whole++
		}
		if !p.within(&ru.prefix) {
			continue
		}
		under++
		taken := slices.IndexFunc(rules, func(o rule) bool {
			return o.room != index && o.host == ru.host && len(o.segments) > len(ru.segments) && p.within(&o.prefix)
		})
		if taken < 0 {
			reached++
		} else {
			thief = rules[taken].path
		}
	}
	switch {
	case all == 0: // the matches are wrong themselves, which is reported there
	case under == 0:
		add("path", "%q is outside of the room's match and can never apply", e.Path)
	case reached == 0:
		add("path", "%q can never apply: the match %q of another room is more specific", e.Path, thief)
	case whole == all && len(e.Methods) == 0 && len(e.Sources) == 0:
		add("path", "%q takes out the whole room, which then can never apply", e.Path)
	}
	return ex, bad
}

func (p *prefix) within(q *prefix) bool {
	return len(p.segments) >= len(q.segments) && slices.Equal(p.segments[:len(q.segments)], q.segments)
}

func (p *prefix) segmentsEqual(q *prefix) bool { return slices.Equal(p.segments, q.segments) }

func newSite(rules []rule, keep func(rule) bool) *site {
	s := &site{}
	for _, r := range rules {
		if keep(r) {
			s.rules = append(s.rules, r)
		}
	}
	s.root = len(s.rules)
	size := 4
	for size < 4*len(s.rules) {
		size *= 2
	}
	s.slots, s.mask = make([]slot, size), uint64(size-1)
	for i, r := range s.rules {
		if len(r.segments) == 0 {
			s.root = min(s.root, i)
			continue
		}
		s.longest = max(s.longest, len(r.skeleton))
		h := uint64(hashSeed)
		for j := range len(r.skeleton) {
			h = hashByte(h, r.skeleton[j])
		}
		at := hashSlot(h) & s.mask
		for s.slots[at].rules != nil && s.rules[s.slots[at].rules[0]].skeleton != r.skeleton {
			at = (at + 1) & s.mask
		}
		s.slots[at].hash = h
		s.slots[at].rules = append(s.slots[at].rules, i)
	}
	return s
}

const hashSeed = 14695981039346656037

func hashByte(h uint64, c byte) uint64 { return (h ^ uint64(c)) * 1099511628211 }
func hashSlot(h uint64) uint64         { return h ^ h>>29 }

// Find decides for a request. Target is the request-target as on the wire
// (origin-form, absolute-form, "*"), host the raw value of the Host header,
// source the visitor's address. The room is -1 when Ungated or Refused.
//
// Where the target names a host too, both must lead to the same answer.
func (t *Table) Find(method, host, target []byte, source netip.Addr) (room int, v Verdict) {
	if len(t.rooms) == 0 {
		return -1, Ungated
	}
	if len(target) > 0 && target[0] == '/' {
		return t.at(method, host, target, source)
	}
	if string(target) == "*" && string(method) == "OPTIONS" {
		return t.at(method, host, star, source)
	}
	authority, path, ok := absolute(target)
	if !ok {
		return -1, Refused
	}
	room, v = t.at(method, authority, path, source)
	if r2, v2 := t.at(method, host, path, source); r2 != room || v2 != v {
		return -1, Refused
	}
	return room, v
}

// star is what an origin that takes "*" for a path makes of it.
var star = []byte("/*")

// at is Find for a path, which begins with a slash.
func (t *Table) at(method, host, path []byte, source netip.Addr) (int, Verdict) {
	s, odd := t.site(host)
	if odd {
		if _, v := t.hosted.find(t.rooms, method, path, source); v != Ungated {
			return -1, Refused
		}
	}
	return s.find(t.rooms, method, path, source)
}

var slash = []byte("/")

// absolute splits http://authority/path?query. A missing path is "/".
func absolute(target []byte) (authority, path []byte, ok bool) {
	const plain, secure = "http://", "https://"
	var rest []byte
	switch {
	case len(target) > len(plain) && equalFold(target[:len(plain)], plain):
		rest = target[len(plain):]
	case len(target) > len(secure) && equalFold(target[:len(secure)], secure):
		rest = target[len(secure):]
	default:
		return nil, nil, false
	}
	i := bytes.IndexAny(rest, `/?#\`)
	switch {
	case i < 0:
		return rest, slash, true
	case rest[i] == '/':
		return rest[:i], rest[i:], true
	case rest[i] == '?':
		return rest[:i], slash, true
	}
	return nil, nil, false
}

// Kinds of bytes in a path.
const (
	odd   = iota // needs weighing
	plain        // means itself to every reader, but for case
	dot
	border
	query
)

var kind, lower = func() (kind, lower [256]byte) {
	for i := range 256 {
		lower[i] = byte(i)
	}
	for c := byte('a'); c <= 'z'; c++ {
		kind[c], kind[c-32], lower[c-32] = plain, plain, c
	}
	for _, c := range []byte("0123456789-_~!&'()*,=:@") {
		kind[c] = plain
	}
	kind['.'], kind['/'], kind['?'] = dot, border, query
	return
}()

// find decides within a site. Most paths hold nothing odd: they are hashed
// border by border and looked up; the first oddity leads to weigh.
func (s *site) find(rooms []room, method, path []byte, source netip.Addr) (int, Verdict) {
	if len(s.rules) == 0 {
		return -1, Ungated
	}
	best := s.root
	h := hashByte(hashSeed, '/')
	last := byte(border)
	n := 1
	for end := min(len(path), s.longest+1); n < end; n++ { // where rules may end
		c := path[n]
		k := kind[c]
		if k != plain {
			if k == query {
				break
			}
			if k == odd || last == border || k == border && last == dot {
				return s.weigh(rooms, method, path, source)
			}
			if k == border {
				i, ok := s.lookup(h, path[:n])
				if !ok {
					return s.weigh(rooms, method, path, source)
				}
				best = min(best, i)
			}
		}
		h = hashByte(h, lower[c])
		last = k
	}
	if last == plain && (n == len(path) || path[n] == '?') && n <= s.longest {
		i, ok := s.lookup(h, path[:n])
		if !ok {
			return s.weigh(rooms, method, path, source)
		}
		best = min(best, i)
	}
	for ; n < len(path); n++ { // where only oddities matter
		k := kind[path[n]]
		if k != plain {
			if k == query {
				break
			}
			if k == odd || last == border || k == border && last == dot {
				return s.weigh(rooms, method, path, source)
			}
		}
		last = k
	}
	if last == dot {
		return s.weigh(rooms, method, path, source)
	}
	if best == len(s.rules) {
		return -1, Ungated
	}
	at, below := s.rules[best].room, path[len(s.rules[best].path):n]
	for i := range rooms[at].except {
		e := &rooms[at].except[i]
		switch {
		case !e.names(method, source):
		case e.static:
			if isStatic(below) {
				return at, Excepted
			}
		case e.path == nil || e.path.begins(path[:n]):
			return at, Excepted
		}
	}
	return at, Gated
}

// lookup finds the first rule for a path of plain bytes. It is not ok when a
// rule differs in case only.
func (s *site) lookup(h uint64, path []byte) (first int, ok bool) {
	first = len(s.rules)
	for at := hashSlot(h) & s.mask; s.slots[at].rules != nil; at = (at + 1) & s.mask {
		sl := &s.slots[at]
		if sl.hash != h || !equalFold(path, s.rules[sl.rules[0]].skeleton) {
			continue
		}
		for _, i := range sl.rules {
			if r := &s.rules[i]; !r.ignoreCase && r.path != string(path) || r.ignoreCase && !equalFold(path, r.path) {
				return 0, false
			}
		}
		return sl.rules[0], true
	}
	return first, true
}

// begins is plain for a path without oddities.
func (p *prefix) begins(path []byte) bool {
	if n := len(p.path); n > len(path) || n < len(path) && path[n] != '/' {
		return false
	}
	head := path[:len(p.path)]
	return string(head) == p.path || p.ignoreCase && equalFold(head, p.path)
}

// equalFold compares ASCII without case; s may be in any.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		if lower[c] != lower[s[i]] {
			return false
		}
	}
	return true
}

// Paths up to short are weighed on the stack, those up to long in pooled
// buffers, longer ones are refused.
const (
	short = 768
	long  = 32 << 10
)

type scratch struct{ a, b, c [long]byte }

var pool = sync.Pool{New: func() any { return new(scratch) }}

// weigh decides when a path could be read in several ways.
func (s *site) weigh(rooms []room, method, path []byte, source netip.Addr) (int, Verdict) {
	if i := bytes.IndexByte(path, '?'); i >= 0 {
		path = path[:i]
	}
	if len(path) <= short {
		var a, b, c [short]byte
		return s.decide(rooms, method, path, source, a[:], b[:], c[:])
	}
	if len(path) > long {
		return -1, Refused
	}
	p := pool.Get().(*scratch)
	at, v := s.decide(rooms, method, path, source, p.a[:], p.b[:], p.c[:])
	pool.Put(p)
	return at, v
}

func (s *site) decide(rooms []room, method, path []byte, source netip.Addr, a, b, c []byte) (int, Verdict) {
	sk, strict := skeletonOf(path, a, b, true, false), skeleton{}
	if sk.doubt {
		strict = skeletonOf(path, a, c, true, true)
		sk.climbs, sk.cut = sk.climbs || strict.climbs, sk.cut || strict.cut
	}
	at := -1
	for i := range s.rules {
		r := &s.rules[i]
		reads, _ := r.plain(path)
		if !reads && !sk.under(r.segments) && !(sk.doubt && strict.under(r.segments)) {
			continue
		}
		if at >= 0 && at != r.room {
			return -1, Refused
		}
		at = r.room
		if len(r.segments) > 0 && (!reads || sk.climbs || sk.cut) {
			continue // some readings may be elsewhere: see where
		}
		if s.isAll(rooms, at) {
			return at, Gated
		}
		return rooms[at].settle(at, method, path, source, &sk)
	}
	if at >= 0 {
		return -1, Refused
	}
	return -1, Ungated
}

// isAll tells whether a room takes everything that no other room does, with no exceptions.
// What nobody reads as another room's is in it however it is read.
func (s *site) isAll(rooms []room, at int) bool {
	return s.root < len(s.rules) && s.rules[s.root].room == at && len(rooms[at].except) == 0
}

// settle decides between a room that all readings agree on and its exceptions.
func (r *room) settle(at int, method, path []byte, source netip.Addr, sk *skeleton) (int, Verdict) {
	if forbidden(path) {
		return -1, Refused
	}
	v := Gated
	for i := range r.except {
		e := &r.except[i]
		if e.static || !e.names(method, source) {
			continue
		}
		if e.path == nil || len(e.path.segments) == 0 {
			return at, Excepted
		}
		if reads, needless := e.path.plain(path); !reads {
			continue
		} else if needless || sk.climbs || sk.cut {
			v = Refused
		} else {
			return at, Excepted
		}
	}
	if v == Refused {
		at = -1
	}
	return at, v
}
