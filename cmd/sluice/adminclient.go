package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// adminFlags say which gate a command talks to and who is talking.
type adminFlags struct {
	admin     string
	tokenFile string
}

const defaultAdmin = "127.0.0.1:9090"

// register adds the flags to cmd and the commands under it.
func (f *adminFlags) register(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVar(&f.admin, "admin", "", "`ADDR` of the gate's admin listener, a listen address or a URL; env SLUICE_ADMIN (default "+defaultAdmin+")")
	cmd.PersistentFlags().StringVar(&f.tokenFile, "token-file", "", "`FILE` that holds the token; env SLUICE_TOKEN holds the token itself")
}

// client returns the client that the flags and the environment ask for.
func (f *adminFlags) client(timeout time.Duration) (*adminClient, error) {
	name, address := "--admin", f.admin
	if address == "" {
		name, address = "SLUICE_ADMIN", cmp.Or(os.Getenv("SLUICE_ADMIN"), defaultAdmin)
	}
	base, err := adminURL(address)
	if err != nil {
		return nil, usageError("%s %q: %w", name, address, err)
	}
	token := os.Getenv("SLUICE_TOKEN")
	if f.tokenFile != "" {
		text, err := os.ReadFile(f.tokenFile)
		if err != nil {
			return nil, usageError("--token-file: %w", err)
		}
		if token = strings.TrimSpace(string(text)); token == "" {
			return nil, usageError("--token-file %s is empty", f.tokenFile)
		}
	}
	if token = strings.TrimSpace(token); strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, usageError("the token holds blanks, line breaks or letters beyond ASCII: want the token alone, on one line")
	}
	return &adminClient{
		base: base, token: token, timeout: timeout,
		http: &http.Client{
			// Neither a proxy nor a redirect gets to see the token.
			Transport:     &http.Transport{DialContext: new(net.Dialer).DialContext, DisableCompression: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// adminURL makes the address to ask at of a listen address or URL: one that
// listens everywhere is asked on loopback.
func adminURL(address string) (string, error) {
	scheme, hostPort := "http", address
	if strings.Contains(address, "://") {
		u, err := url.Parse(address)
		switch {
		case err != nil:
			return "", errors.New("is not a URL")
		case u.Scheme != "http" && u.Scheme != "https":
			return "", fmt.Errorf("scheme %q: want http or https", u.Scheme)
		case u.User != nil || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
			return "", errors.New("want scheme, host and port only")
		}
		if u.Port() != "" {
			scheme, hostPort = u.Scheme, u.Host
		} else {
			return u.Scheme + "://" + u.Host, nil
		}
	}
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil || port == "" || strings.ContainsAny(hostPort, "/?#@ ") {
		return "", errors.New("want HOST:PORT, :PORT or a URL, such as " + defaultAdmin)
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.Unmap() == netip.IPv4Unspecified() {
		host = "127.0.0.1"
	} else if err == nil && ip.IsUnspecified() {
		host = "::1"
	}
	return scheme + "://" + net.JoinHostPort(host, port), nil
}

// adminClient asks one gate.
type adminClient struct {
	base    string
	token   string
	timeout time.Duration
	http    *http.Client
}

// adminRoom is a room as the admin API shows it.
type adminRoom struct {
	Name     string `json:"name"`
	Settings struct {
		Rate        string `json:"rate"`
		Burst       any    `json:"burst"` // nil: there is no rate
		MaxActive   any    `json:"max_active"`
		MaxWaiting  any    `json:"max_waiting"`
		Session     string `json:"session"`
		MaxSession  string `json:"max_session"`
		ClaimWithin string `json:"claim_within"`
		KeepPlace   string `json:"keep_place"`
		Mode        string `json:"mode"`
		Poll        struct {
			Min string `json:"min"`
			Max string `json:"max"`
		} `json:"poll"`
		Message string `json:"message"`
	} `json:"settings"`
	Overrides map[string]adminOverride `json:"overrides"`
	Version   int64                    `json:"version"`
	Counts    *struct {
		Waiting int64 `json:"waiting"`
		Absent  int64 `json:"absent"`
		Called  int64 `json:"called"`
		Active  int64 `json:"active"`
		Calls   int64 `json:"calls"`
	} `json:"counts"` // nil: the gate never heard its store
	At *time.Time `json:"at"`

	Age time.Duration `json:"-"` // of the counts, by the gate's own clock
}

type adminOverride struct {
	Value any       `json:"value"`
	File  any       `json:"file"`
	By    string    `json:"by"`
	At    time.Time `json:"at"`
}

// adminProblem is an answer of the gate that says no.
type adminProblem struct {
	Base   string
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Errors []struct {
		Key    string `json:"key"`
		Detail string `json:"detail"`
	} `json:"errors"`
}

func (p *adminProblem) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "the gate at %s answers %d: %s", p.Base, p.Status, printable(p.Detail))
	for _, e := range p.Errors {
		b.WriteString("\n  ")
		if e.Key != "" {
			b.WriteString(printable(e.Key) + ": ")
		}
		b.WriteString(printable(e.Detail))
	}
	if p.Status == http.StatusUnauthorized {
		b.WriteString("\nGive one with --token-file FILE or in SLUICE_TOKEN; the gate's are listed in its admin.tokens_file.")
	}
	return b.String()
}

// Rooms returns every room, and the answer as it came.
func (c *adminClient) Rooms(ctx context.Context) ([]adminRoom, []byte, error) {
	var list struct {
		Rooms []adminRoom `json:"rooms"`
	}
	raw, now, err := c.ask(ctx, http.MethodGet, "/api/v1/rooms", nil, &list)
	for i := range list.Rooms {
		list.Rooms[i].age(now)
	}
	return list.Rooms, raw, err
}

// Room returns one room, and the answer as it came.
func (c *adminClient) Room(ctx context.Context, name string) (adminRoom, []byte, error) {
	return c.room(ctx, http.MethodGet, name, nil)
}

// Patch changes settings of a room; nil resets one.
func (c *adminClient) Patch(ctx context.Context, name string, patch map[string]any) (adminRoom, []byte, error) {
	return c.room(ctx, http.MethodPatch, name, patch)
}

// change patches a room as it stands, and returns it before and after, and the answer as
// it came. Should the patch hang on its way, nothing comes of it once others have changed
// the room. A gate may be a second behind the others: it is asked again for so long.
func (c *adminClient) change(ctx context.Context, name string, patchOf func(adminRoom) map[string]any) (before, after adminRoom, raw []byte, err error) {
	const tries, pause = 10, 200 * time.Millisecond
	for try := 1; ; try++ {
		before, raw, err = c.Room(ctx, name)
		if err != nil {
			return before, after, nil, err
		}
		patch := patchOf(before)
		if len(patch) == 0 {
			return before, before, raw, nil
		}
		if _, said := patch["version"]; !said {
			patch = maps.Clone(patch)
			patch["version"] = before.Version
		}
		after, raw, err = c.Patch(ctx, name, patch)
		var p *adminProblem
		if !errors.As(err, &p) || p.Status != http.StatusConflict || try == tries {
			return before, after, raw, err
		}
		select {
		case <-ctx.Done():
			return before, after, nil, ctx.Err()
		case <-time.After(pause):
		}
	}
}

func (c *adminClient) room(ctx context.Context, method, name string, patch map[string]any) (adminRoom, []byte, error) {
	var r adminRoom
	raw, now, err := c.ask(ctx, method, "/api/v1/rooms/"+url.PathEscape(name), patch, &r)
	r.age(now)
	var p *adminProblem
	if errors.As(err, &p) && p.Status == http.StatusNotFound {
		if rooms, _, listErr := c.Rooms(ctx); listErr == nil {
			names := make([]string, len(rooms))
			for i := range rooms {
				names[i] = rooms[i].Name
			}
			err = fmt.Errorf("there is no room %q at %s; its rooms: %s", name, c.base, strings.Join(names, ", "))
		}
	}
	return r, raw, err
}

func (r *adminRoom) age(now time.Time) {
	if r.At != nil {
		r.Age = max(0, now.Sub(*r.At))
	}
}

// Ready returns nil when the gate is ready, else why not.
func (c *adminClient) Ready(ctx context.Context) error {
	answer, body, err := c.send(ctx, http.MethodGet, "/readyz", nil)
	switch {
	case err != nil:
		return err
	case answer.StatusCode == http.StatusOK && strings.TrimSpace(string(body)) == "ok":
		return nil
	case answer.StatusCode == http.StatusServiceUnavailable:
		return fmt.Errorf("the gate at %s is not ready: %s", c.base, printable(strings.TrimSpace(firstOf(body, 500))))
	default:
		return c.stranger(answer)
	}
}

// ask sends a request of the API and reads its answer into out. Now is the
// gate's clock.
func (c *adminClient) ask(ctx context.Context, method, path string, patch map[string]any, out any) (raw []byte, now time.Time, err error) {
	var body []byte
	if patch != nil {
		if body, err = json.Marshal(patch); err != nil {
			return nil, now, err
		}
	}
	answer, raw, err := c.send(ctx, method, path, body)
	if err != nil {
		return nil, now, err
	}
	media := answer.Header.Get("Content-Type")
	switch {
	case media == "application/problem+json":
		p := &adminProblem{Base: c.base}
		if err := json.Unmarshal(raw, p); err != nil {
			return nil, now, fmt.Errorf("the gate at %s answers %d and no reason: %w", c.base, answer.StatusCode, err)
		}
		p.Status = answer.StatusCode
		return nil, now, p
	case answer.StatusCode != http.StatusOK || media != "application/json":
		return nil, now, c.stranger(answer)
	}
	if now, err = http.ParseTime(answer.Header.Get("Date")); err != nil {
		now = time.Now()
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(out); err != nil {
		return nil, now, fmt.Errorf("the answer of %s%s cannot be read: %w", c.base, path, err)
	}
	return raw, now, nil
}

func (c *adminClient) send(ctx context.Context, method, path string, body []byte) (*http.Response, []byte, error) {
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(limited, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/merge-patch+json")
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, nil, c.unreachable(ctx, method, err)
	}
	defer func() { _ = answer.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(answer.Body, 32<<20))
	if err != nil {
		return nil, nil, c.unreachable(ctx, method, err)
	}
	return answer, raw, nil
}

// unreachable says what could not be reached, why, and what to try.
func (c *adminClient) unreachable(ctx context.Context, method string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	var dns *net.DNSError
	why, try := err.Error(), "Is it the address of the admin listener (admin.listen)? Name it with --admin ADDR or SLUICE_ADMIN."
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		why = fmt.Sprintf("no answer within %s", c.timeout)
		if method == http.MethodPatch {
			try = "The change may have been made all the same: look with sluice room show before you repeat it."
		}
	case errors.Is(err, syscall.ECONNREFUSED):
		why = "connection refused"
		try = "Is the gate running there (sluice serve)? Name another address with --admin ADDR or SLUICE_ADMIN."
	case errors.As(err, &dns):
		why = fmt.Sprintf("the name %q is not known", dns.Name)
	}
	return hinted{unreachable{fmt.Sprintf("cannot reach the gate's admin listener at %s: %s", c.base, why), err}, try}
}

// unreachable says why in words for people and keeps the cause.
type unreachable struct {
	text  string
	cause error
}

func (u unreachable) Error() string { return u.text }
func (u unreachable) Unwrap() error { return u.cause }

// hinted is an error with a line that says what to try.
type hinted struct {
	err error
	try string
}

func (h hinted) Error() string { return h.err.Error() + "\n" + h.try }
func (h hinted) Unwrap() error { return h.err }

func (c *adminClient) stranger(answer *http.Response) error {
	err := fmt.Errorf("%s answers %d %s, but not as a gate's admin listener does", c.base, answer.StatusCode, printable(answer.Header.Get("Content-Type")))
	return hinted{err, "Is it the visitors' address? Name the one under admin.listen with --admin ADDR or SLUICE_ADMIN."}
}

// printable is text that cannot move the cursor of the terminal it is shown on.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}

func firstOf(b []byte, n int) string { return string(b[:min(len(b), n)]) }
