package config

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/sluicegate/sluice/gate/token"
	"go.yaml.in/yaml/v3"
)

// secret is one that was given, before it is known to be good.
type secret struct {
	text  string
	where Problem // the place; its message is put in when something is wrong
}

// secret reads the secret, or a list of them.
func (l *loader) secret(n *yaml.Node, key string) {
	if l.named {
		l.problemAt(n, key, "secret and secret_file cannot both be given")
		return
	}
	l.named = true
	before := len(l.given)
	ok := l.some(n, key, "a secret or a list of them", func(n *yaml.Node, key string) {
		if s, ok := l.scalar(n, key, "a secret"); ok {
			at := l.where(key)
			l.given = append(l.given, secret{s, Problem{File: l.reader.file, Line: at.line, Column: at.column, Key: key}})
		}
	})
	if ok && len(l.given) == before && !l.isBad(key) {
		l.problem(key, "is empty")
	}
}

// secretFile reads the secrets of a file, one a line.
func (l *loader) secretFile(n *yaml.Node, key string) {
	path, ok := l.scalar(n, key, "the path of a file")
	if !ok {
		l.named = true
		return
	}
	if path == "" {
		return
	}
	if l.named {
		l.problemAt(n, key, "secret and secret_file cannot both be given")
		return
	}
	l.named = true
	path = l.local(path)
	lines, err := readLines(path)
	if err == nil && len(lines) == 0 {
		err = fmt.Errorf("%s is empty", path)
	}
	if err != nil {
		l.problem(key, "%s", err)
		return
	}
	for _, line := range lines {
		l.given = append(l.given, secret{line.text, Problem{File: path, Line: line.number, Key: key}})
	}
}

type line struct {
	text   string
	number int
}

// readLines returns the lines of a small file that have something on them,
// without the space around it.
func readLines(path string) ([]line, error) {
	data, err := readRegular(path)
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s is larger than 1 MiB", path)
	}
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("%s is not UTF-8", path)
	}
	var out []line
	for i, text := range strings.Split(strings.TrimPrefix(string(data), "\uFEFF"), "\n") {
		if text = strings.TrimSpace(text); text != "" {
			out = append(out, line{text, i + 1})
		}
	}
	return out, nil
}

// secrets settles what signs tokens.
func (l *loader) secrets() {
	var environment []secret
	if v, _ := l.env("SLUICE_SECRET"); v != "" {
		for text := range strings.SplitSeq(v, "\n") {
			if text = strings.TrimSpace(text); text != "" {
				environment = append(environment, secret{text, Problem{Key: "SLUICE_SECRET"}})
			}
		}
	}
	if !l.named {
		l.given = environment
	}
	wrong := l.isBad("secret") || l.isBad("secret_file")
	for _, s := range l.given {
		s.text = strings.TrimSpace(s.text) // a line break at the end of a mounted secret is no part of it
		message := ""
		switch {
		case utf8.RuneCountInString(s.text) < token.MinSecret:
			message = fmt.Sprintf("has %d characters and needs %d: make one with openssl rand -base64 32", utf8.RuneCountInString(s.text), token.MinSecret)
		case strings.ContainsAny(s.text, "\r\n"):
			message = "has a line break: several secrets are a list"
		case slices.Contains(l.c.Secrets, s.text):
			message = "is given twice"
		}
		if message != "" {
			wrong = true
			s.where.Message = message
			l.add(s.where)
			continue
		}
		l.c.Secrets = append(l.c.Secrets, s.text)
	}
	if wrong {
		return
	}
	for _, s := range environment {
		if !slices.Contains(l.c.Secrets, s.text) {
			l.add(Problem{Key: "SLUICE_SECRET", Message: fmt.Sprintf("is not among the secrets that %s names", l.reader.file)})
			return
		}
	}
	switch {
	case len(l.c.Secrets) > 0 || l.isBad("store"):
	case l.c.Store == "memory":
		var random [32]byte
		rand.Read(random[:]) // never fails
		l.c.Secrets, l.c.SecretGenerated = []string{base64.StdEncoding.EncodeToString(random[:])}, true
	default:
		l.problem("secret", "is missing, and all gates that share this store need the same; SLUICE_SECRET sets it too")
	}
}

var (
	tokenName = regexp.MustCompile(`^[A-Za-z0-9._@-]{1,64}$`)
	tokenHash = regexp.MustCompile(`^[0-9a-fA-F]{64}$`)
)

// tokens reads the admin's tokens file.
func (l *loader) tokens(key string) {
	path := l.c.Admin.TokensFile
	lines, err := readLines(path)
	if err != nil {
		l.problem(key, "%s", err)
		return
	}
	first := map[string]int{}
	hashes := map[[32]byte]int{}
	some := false
	for _, line := range lines {
		if line.text[0] == '#' {
			continue
		}
		some = true
		bad := func(format string, args ...any) {
			l.mark(key)
			l.add(Problem{File: path, Line: line.number, Column: 1, Key: key, Message: fmt.Sprintf(format, args...)})
		}
		// Nothing from here on tells what the line holds beyond its name: it may be
		// the token itself, written where its hash should be.
		fields := strings.Fields(line.text)
		if len(fields) != 3 {
			bad("want NAME ROLE SHA256-OF-TOKEN, found %d words", len(fields))
			continue
		}
		t := AdminToken{Name: fields[0], Role: fields[1]}
		if !tokenName.MatchString(t.Name) {
			bad("the name has other characters than A-Z, a-z, 0-9 and . _ @ -, or more than 64")
			continue
		}
		if t.Role != "viewer" && t.Role != "operator" {
			bad("the role of %s must be viewer or operator", t.Name)
			continue
		}
		if !tokenHash.MatchString(fields[2]) {
			bad("the third word of %s is no SHA-256 in hex, 64 digits: the file holds hashes, never tokens", t.Name)
			continue
		}
		hex.Decode(t.Hash[:], []byte(fields[2])) // cannot fail
		if n, twice := first[t.Name]; twice {
			bad("%s has a token in line %d", t.Name, n)
			continue
		}
		if n, twice := hashes[t.Hash]; twice {
			bad("the token of %s is that of line %d", t.Name, n)
			continue
		}
		first[t.Name], hashes[t.Hash] = line.number, line.number
		l.c.Admin.Tokens = append(l.c.Admin.Tokens, t)
	}
	if !some {
		l.problem(key, "%s names nobody", path)
	}
}

// readRegular reads a file that the configuration names. Opening anything else,
// such as a pipe, could block for ever.
func readRegular(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &os.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	return readFile(path)
}

const hidden = "***"

// Redacted is a copy of c that may be shown: with no secret, no password and no
// token's hash.
func (c Config) Redacted() Config {
	c.Secrets = slices.Repeat([]string{hidden}, len(c.Secrets))
	c.Store = hiddenStore(c.Store)
	if c.Origin.TLS.Key != "" {
		c.Origin.TLS.Key = hidden
	}
	c.Admin.Tokens = slices.Clone(c.Admin.Tokens)
	for i := range c.Admin.Tokens {
		c.Admin.Tokens[i].Hash = [32]byte{}
	}
	return c
}

// plain is a Config without methods.
type plain Config

// Format writes c without secrets, whatever the verb.
func (c Config) Format(f fmt.State, _ rune) { fmt.Fprint(f, c.String()) }

// String tells everything but secrets.
func (c Config) String() string { return fmt.Sprintf("%+v", plain(c.Redacted())) }

// LogValue is what slog writes.
func (c Config) LogValue() slog.Value { return slog.AnyValue(plain(c.Redacted())) }

// MarshalJSON writes c without secrets.
func (c Config) MarshalJSON() ([]byte, error) { return json.Marshal(plain(c.Redacted())) }

// MarshalYAML writes c without secrets.
func (c Config) MarshalYAML() (any, error) { return plain(c.Redacted()), nil }
