package config

import (
	"slices"
	"strings"
)

// known are the keys of each section, to tell where a misplaced one belongs.
var known = map[string][]string{
	"": {"listen", "tls", "admin", "store", "on_store_loss", "secret", "secret_file", "trusted_proxies", "proxy_protocol", "https", "cors_origins", "hosts", "headers", "limits",
		"origin", "visitors", "log", "shutdown", "rooms"},
	"listen[]":           {"address", "tls", "reuse_port", "mode", "owner"},
	"tls":                {"certificates", "acme", "min_version", "redirect", "redirect_port", "hsts"},
	"tls.certificates[]": {"cert_file", "key_file"},
	"tls.acme":           {"hosts", "email", "cache", "directory", "ca_file"},
	"tls.hsts":           {"max_age", "include_subdomains", "preload"},
	"admin":              {"listen", "tokens_file"},
	"headers":            {"via", "traceparent"},
	"limits":             {"header", "fields", "target", "body"},
	"origin": {"url", "balance", "host", "connect_timeout", "header_timeout", "idle_timeout", "keep_alive", "max_conns", "queue", "tunnels",
		"resolve", "failures", "check", "tls"},
	"origin.queue":         {"max", "wait"},
	"origin.tunnels":       {"max", "idle_timeout"},
	"origin.failures":      {"count", "within", "out", "max_out"},
	"origin.check":         {"path", "method", "host", "status", "interval", "timeout", "up", "down"},
	"origin.tls":           {"server_name", "ca_file", "cert_file", "key_file", "insecure"},
	"visitors":             {"max_conns", "reserve", "header_timeout", "body_timeout", "min_rate", "per_address"},
	"visitors.per_address": {"max_conns", "requests", "newcomers", "ipv4_prefix", "ipv6_prefix"},
	"log":                  {"level", "format"},
	"shutdown":             {"delay", "timeout"},
	"rooms[]": {"name", "match", "except", "match_case", "rate", "burst", "max_active", "max_waiting", "session", "max_session",
		"claim_within", "keep_place", "mode", "poll", "message", "cookie_domain", "page"},
	"rooms[].match[]":  {"host", "path"},
	"rooms[].except[]": {"path", "methods", "source"},
	"rooms[].poll":     {"min", "max"},
	"rooms[].page":     {"status", "template", "entry"},
}

// instead says what there is in place of a key that people look for; "": nothing.
func instead(section, name string) string {
	switch section {
	case "origin":
		if name == "timeout" {
			return "unknown key; connect_timeout is how long connecting may take, header_timeout how long until the answer begins"
		}
	case "rooms[].except[]":
		switch name {
		case "header", "headers", "cookie", "user_agent", "query", "host":
			return "there are no exceptions by " + strings.ReplaceAll(strings.TrimSuffix(name, "s"), "_", " ") +
				", which any visitor can send; known here: path, methods, source"
		}
	}
	return ""
}

// unknown says what is wrong with a key that the section does not have.
func unknown(section, name string, merge bool, fields []field) string {
	if merge {
		return "merge keys are not used here: write the keys out, or use an alias for a whole value"
	}
	if hint := instead(section, name); hint != "" {
		return hint
	}
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	if near := nearest(name, names); near != "" {
		return "unknown key; did you mean " + near + "?"
	}
	var homes []string
	for home, keys := range known {
		if home != section && slices.Contains(keys, name) {
			if home == "" {
				home = "the top of the file"
			}
			homes = append(homes, home)
		}
	}
	if len(homes) > 0 {
		slices.Sort(homes)
		return "unknown key here; it belongs in " + strings.Join(homes, " or ")
	}
	return "unknown key; known here: " + strings.Join(names, ", ")
}

// nearest finds the name that was probably meant.
func nearest(name string, names []string) string {
	if len(name) > 40 {
		return ""
	}
	plain := func(s string) string { return strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(s)) }
	best, least := "", 0
	for _, n := range names {
		if plain(n) == plain(name) {
			return n
		}
		// One slip in a short name, two in a longer one; and never half of it.
		if d := distance(plain(name), plain(n)); d <= min(2, len(n)/3) && (best == "" || d < least) {
			best, least = n, d
		}
	}
	return best
}

// distance counts the letters put in, left out, changed, or swapped with their
// neighbour (optimal string alignment).
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
