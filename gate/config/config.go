// Package config reads how a gate is to run: one strict YAML file, then the
// environment, then flags, each winning over the one before, into one Config
// that nobody changes afterwards. Everything wrong is told at once, each problem
// with the line and column, the variable or the flag that it stands in.
//
// The file is YAML as operators write it, with less left to guess:
//
//   - an unknown key, a key given twice, a second document, a merge key (<<) or
//     an application tag is an error, and so is a key with nothing after it;
//   - where text is wanted any plain value is taken as it is written, so that
//     rate: 600/m, name: 2026 and max_active: 300 need no quotes;
//   - an alias (*name) stands for what its anchor holds, and a problem in it is
//     told where the anchor is;
//   - ${NAME} in a value, never in a key, is replaced after parsing by the
//     variable of the environment, whatever that contains. It must be set.
//     $$ is a dollar, and a dollar before anything else stands for itself;
//   - relative paths start at the folder of the file.
//
// The environment knows SLUICE_LISTEN and SLUICE_ORIGIN (one or several with
// commas), SLUICE_ADMIN, SLUICE_STORE, SLUICE_RATE, SLUICE_MAX_ACTIVE and
// SLUICE_SECRET; a variable set to nothing counts as not set. SLUICE_SECRET has
// one secret a line and is the one exception to the order: a file that names its
// secrets keeps them, and SLUICE_SECRET must then be among them. Otherwise the
// variable that a rotation puts into a list would silently take the others out.
//
// testdata/good/full.yaml shows every key with what it means.
package config

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sluicegate/sluice/gate/route"
	"github.com/sluicegate/sluice/queue"
)

// Config is how a gate is to run. It was checked as a whole by Load and is
// shared between goroutines: it must not be changed. Printing, logging or
// marshalling it shows no secret; its fields Secrets and Store must not be
// printed by themselves.
type Config struct {
	Listen      []Listener // of visitors; at least one
	TLS         TLS
	Admin       Admin
	Store       string // memory, or the URL of a Redis with its passwords
	OnStoreLoss string // hold or admit
	// Secrets sign and verify tokens: the first signs, all verify. There is always
	// one. SecretGenerated says that it was made at random, as with the memory
	// store it may be: a restart then loses the line, and a reload must keep the
	// one in use.
	Secrets         []string
	SecretGenerated bool
	TrustedProxies  []netip.Prefix
	ProxyProtocol   bool     // every connection begins with a PROXY header
	HTTPS           string   // auto or always
	CORSOrigins     []string // as browsers send them
	Hosts           []string // of the site, beside those that rooms name; none: any
	Headers         Headers
	Limits          Limits
	Origin          Origin
	Visitors        Visitors
	Log             Log
	Shutdown        Shutdown
	Rooms           []Room // at least one

	// Warnings are what its operator may not expect of it, though nothing is wrong.
	Warnings Problems
}

// Admin is the listener of operators.
type Admin struct {
	Listen     string
	TokensFile string // "": none
	Tokens     []AdminToken
}

// AdminToken is a line of the tokens file.
type AdminToken struct {
	Name string
	Role string   // viewer or operator
	Hash [32]byte // SHA-256 of the token
}

// Headers are what the gate adds to requests beside what it must.
type Headers struct {
	Via   bool // names the gate
	Trace bool // gives a request without traceparent one
}

// Log is how much is logged and in what form.
type Log struct {
	Level  slog.Level
	Format string // json or text
}

// Shutdown is what a stopping gate waits for: Delay until load balancers have
// noticed, then at most Timeout for the requests under way.
type Shutdown struct {
	Delay, Timeout time.Duration
}

// Room is a protected part of the site.
type Room struct {
	Name         string
	Match        []route.Match
	Except       []route.Except
	MatchCase    bool
	Settings     queue.Settings
	CookieDomain string // "": host-only
	Page         Page
}

// Page is what people who wait are shown.
type Page struct {
	Status   int
	Template string // path of a file; "": the page that is built in
	Entry    string // where to go when the request cannot be repeated
}

// Routes are the rooms as the route table takes them.
func (c *Config) Routes() []route.Room { return routes(c.Rooms) }

func routes(rooms []Room) []route.Room {
	out := make([]route.Room, len(rooms))
	for i, r := range rooms {
		out[i] = route.Room{Name: r.Name, Match: r.Match, Except: r.Except, IgnoreCase: !r.MatchCase}
	}
	return out
}

// Source is where a configuration comes from.
type Source struct {
	File string // "": no file
	Data []byte // contents of File; nil: Load reads it
	// Flags are the values of the flags that were given: listen, admin, origin,
	// rate, max-active, store.
	Flags map[string]string
	Env   func(string) (string, bool) // os.LookupEnv; nil: an empty environment
}

// maxFile bounds every file that is read, in bytes.
const maxFile = 1 << 20

// DefaultRate is the rate of the one room that there is without a file.
const DefaultRate = "10/s"

// overrides are the keys that a flag or a variable sets. Those of the first room
// belong to the one that there is when the file names none.
var overrides = []struct{ flag, env, key string }{
	{"listen", "SLUICE_LISTEN", "listen"},
	{"admin", "SLUICE_ADMIN", "admin.listen"},
	{"origin", "SLUICE_ORIGIN", "origin.url"},
	{"store", "SLUICE_STORE", "store"},
	{"rate", "SLUICE_RATE", "rooms[0].rate"},
	{"max-active", "SLUICE_MAX_ACTIVE", "rooms[0].max_active"},
}

// Load reads and checks a configuration. Its error is Problems when the
// configuration is wrong, and another one, naming the file, when the file could
// not be read.
func Load(s Source) (*Config, error) {
	for name := range s.Flags {
		if !knownFlag(name) {
			panic("BUG: config: no flag --" + name)
		}
	}
	if s.Env == nil {
		s.Env = func(string) (string, bool) { return "", false }
	}
	if s.File != "" && s.Data == nil {
		data, err := readFile(s.File)
		if err != nil {
			return nil, fmt.Errorf("read configuration: %w", err)
		}
		s.Data = data
	}
	r := newReader(s.File, s.Env)
	c := &Config{
		Listen:      []Listener{{Address: ":8080", Mode: defaultMode}},
		TLS:         TLS{MinVersion: tls.VersionTLS12, RedirectPort: 443},
		Admin:       Admin{Listen: "127.0.0.1:9090"},
		Store:       "memory",
		OnStoreLoss: "hold",
		HTTPS:       "auto",
		Headers:     Headers{Via: true, Trace: true},
		Limits:      defaultLimits,
		Origin:      defaultOrigin(),
		Visitors:    defaultVisitors,
		Log:         Log{Level: slog.LevelInfo, Format: "json"},
		Shutdown:    Shutdown{Delay: 5 * time.Second, Timeout: 20 * time.Second},
	}
	l := &loader{reader: r, c: c}
	if s.File != "" {
		root := r.parse(s.Data)
		if root == nil {
			// Nothing is known of the rest: whatever else could be said would be a guess.
			return nil, r.sorted()
		}
		l.file(root)
	}
	l.override(s.Flags)
	l.secrets()
	l.check()
	if len(r.problems) > 0 {
		return nil, r.sorted()
	}
	return c, nil
}

func knownFlag(name string) bool {
	for _, o := range overrides {
		if o.flag == name {
			return true
		}
	}
	return false
}

// readFile reads at most a byte over maxFile, so that whoever checks the size
// sees that a file is too long.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile+1))
}

// local resolves a path of the file.
func (l *loader) local(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(l.reader.file), path)
}

// override lets the environment and the flags win over the file.
func (l *loader) override(flags map[string]string) {
	given := func(flag, env string) (value, label string, ok bool) {
		if v, ok := flags[flag]; ok {
			return v, "--" + flag, true
		}
		if v, ok := l.env(env); ok && v != "" {
			return v, env, true
		}
		return "", "", false
	}
	named := l.hasRooms
	if !named {
		l.defaultRoom()
	}
	for _, o := range overrides {
		value, label, ok := given(o.flag, o.env)
		if !ok {
			continue
		}
		if setting, ofRoom := strings.CutPrefix(o.key, "rooms[0]."); ofRoom {
			if named {
				l.add(Problem{Key: label, Message: fmt.Sprintf(
					"is for the one room of a gate whose file names none; here set %s of a room in %s", setting, l.reader.file)})
				continue
			}
			l.from(o.key, label)
			l.setting(&l.c.Rooms[0].Settings, o.key, setting, value)
			continue
		}
		l.from(o.key, label)
		switch o.key {
		case "listen":
			l.c.Listen = nil
			for part := range strings.SplitSeq(value, ",") {
				l.addListener(Listener{Mode: defaultMode}, o.key, strings.TrimSpace(part))
			}
		case "admin.listen":
			l.c.Admin.Listen = l.adminListen(o.key, value)
		case "store":
			l.c.Store = l.store(o.key, value)
		case "origin.url":
			l.c.Origin.URLs = nil
			for part := range strings.SplitSeq(value, ",") {
				l.origin(o.key, strings.TrimSpace(part))
			}
		}
	}
}

// defaultRoom is the room of a gate that names none: every path.
func (l *loader) defaultRoom() {
	room := newRoom()
	room.Name = "default"
	room.Match = []route.Match{{Path: "/"}}
	rate, err := queue.ParseRate(DefaultRate)
	if err != nil {
		panic("BUG: config: " + err.Error())
	}
	room.Settings.Rate = rate
	l.c.Rooms = []Room{room}
}

func newRoom() Room {
	return Room{MatchCase: true, Settings: queue.Defaults(), Page: Page{Status: 429}}
}
