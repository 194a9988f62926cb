package redis

import (
	"crypto/tls"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Open returns the store at an address as the configuration writes it:
// redis://, rediss:// (TLS), redis+sentinel://host,host/master/db or
// redis+cluster://host,host, each with ?prefix= for the keys. It connects when it
// is first used. Errors never show the address, which may hold a password.
func Open(address string) (*Store, error) { return open(address, Options{}) }

func open(address string, o Options) (*Store, error) {
	options, prefix, err := parse(address)
	if err != nil {
		return nil, err
	}
	o.Prefix = prefix
	s := New(redis.NewUniversalClient(options), o)
	s.options = options
	return s, nil
}

// parse turns an address into the client's options. The gate repeats operations
// itself, under the same ids, so the client repeats nothing.
func parse(address string) (*redis.UniversalOptions, string, error) {
	first, hosts := splitHosts(address)
	u, err := url.Parse(first)
	if err != nil {
		return nil, "", fmt.Errorf("store address: not a URL; a password with special characters must be percent-encoded")
	}
	o := &redis.UniversalOptions{
		Addrs:                 hosts,
		MaxRetries:            -1,
		DialerRetries:         1,
		DialTimeout:           time.Second,
		ReadTimeout:           2 * time.Second,
		WriteTimeout:          2 * time.Second,
		ContextTimeoutEnabled: true,
		PoolSize:              16,
		DisableIdentity:       true,
	}
	if u.User != nil {
		o.Username = u.User.Username()
		o.Password, _ = u.User.Password()
	}
	port, db := "6379", strings.Trim(u.Path, "/")
	switch u.Scheme {
	case "redis":
	case "rediss":
		o.TLSConfig = &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}
	case "redis+sentinel":
		port = "26379"
		o.MasterName, db, _ = strings.Cut(db, "/")
		if o.MasterName == "" {
			return nil, "", fmt.Errorf("store address: redis+sentinel needs the master's name: redis+sentinel://host,host/master/db")
		}
	case "redis+cluster":
		o.IsClusterMode = true
		if db != "" {
			return nil, "", fmt.Errorf("store address: a cluster has no database number")
		}
	default:
		return nil, "", fmt.Errorf("store address: scheme %q: want redis, rediss, redis+sentinel or redis+cluster", u.Scheme)
	}
	if len(o.Addrs) > 1 && (u.Scheme == "redis" || u.Scheme == "rediss") {
		return nil, "", fmt.Errorf("store address: %s takes one host; for several say redis+sentinel or redis+cluster", u.Scheme)
	}
	if db != "" {
		if o.DB, err = strconv.Atoi(db); err != nil || o.DB < 0 {
			return nil, "", fmt.Errorf("store address: database %q: want a number", db)
		}
	}
	for i, host := range o.Addrs {
		if o.Addrs[i], err = withPort(host, port); err != nil {
			return nil, "", err
		}
	}
	prefix := "sluice"
	for key, values := range u.Query() {
		if key != "prefix" || len(values) != 1 {
			return nil, "", fmt.Errorf("store address: option %q: the only one is prefix", key)
		}
		prefix = values[0]
	}
	if prefix == "" || strings.ContainsAny(prefix, "{} \t\r\n") {
		return nil, "", fmt.Errorf("store address: prefix %q: want a word without braces and spaces", prefix)
	}
	return o, prefix, nil
}

// splitHosts returns the address with only the first of its hosts, since a URL has
// one, and all of them.
func splitHosts(address string) (first string, hosts []string) {
	scheme, rest, _ := strings.Cut(address, "://")
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	at := strings.LastIndex(rest[:end], "@") + 1
	hosts = strings.Split(rest[at:end], ",")
	return scheme + "://" + rest[:at] + hosts[0] + rest[end:], hosts
}

// withPort checks one host and gives it the default port when it names none.
func withPort(host, port string) (string, error) {
	u, err := url.Parse("redis://" + host)
	if err != nil || u.Hostname() == "" || u.Host != host {
		return "", fmt.Errorf("store address: host %q: want host or host:port", host)
	}
	if u.Port() == "" {
		return strings.TrimSuffix(host, ":") + ":" + port, nil
	}
	if n, err := strconv.Atoi(u.Port()); err != nil || n < 1 || n > 65535 {
		return "", fmt.Errorf("store address: host %q: the port is not between 1 and 65535", host)
	}
	return host, nil
}
