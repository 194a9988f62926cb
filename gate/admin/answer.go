package admin

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/sluicegate/sluice/queue"
)

// roomAnswer is a room as the API shows it. Keys and values are spelled as in
// the configuration.
type roomAnswer struct {
	Name      string         `json:"name"`
	Settings  settingsAnswer `json:"settings"`
	Overrides overrides      `json:"overrides"`
	Version   int64          `json:"version"` // grows with every change; 0: there was none
	Counts    *countsAnswer  `json:"counts"`  // null: the store was never heard
	At        *moment        `json:"at"`      // of the counts
}

type settingsAnswer struct {
	Rate        string     `json:"rate"`
	Burst       any        `json:"burst"` // null: there is no rate
	MaxActive   any        `json:"max_active"`
	MaxWaiting  any        `json:"max_waiting"`
	Session     string     `json:"session"`
	MaxSession  string     `json:"max_session"`
	ClaimWithin string     `json:"claim_within"`
	KeepPlace   string     `json:"keep_place"`
	Mode        string     `json:"mode"`
	Poll        pollAnswer `json:"poll"`
	Message     string     `json:"message"`
}

type pollAnswer struct {
	Min string `json:"min"`
	Max string `json:"max"`
}

type countsAnswer struct {
	Waiting int64 `json:"waiting"`
	Absent  int64 `json:"absent"`
	Called  int64 `json:"called"`
	Active  int64 `json:"active"`
	Calls   int64 `json:"calls"` // since the line began
}

type overrideAnswer struct {
	Value json.RawMessage `json:"value"`
	File  any             `json:"file"` // what a reset goes back to
	By    string          `json:"by"`
	At    moment          `json:"at"`
}

func answer(r Room, now time.Time) roomAnswer {
	s := &r.Settings
	a := roomAnswer{
		Name: r.Name,
		Settings: settingsAnswer{
			Rate: s.Rate.String(), Burst: value(s, "burst"), MaxActive: s.Get("max_active"), MaxWaiting: s.Get("max_waiting"),
			Session: queue.Span(s.Session), MaxSession: "none",
			ClaimWithin: queue.Span(s.ClaimWithin), KeepPlace: queue.Span(s.KeepPlace), Mode: s.Mode.String(),
			Poll: pollAnswer{queue.Span(s.PollMin), queue.Span(s.PollMax)}, Message: s.Message,
		},
		Version: r.Overrides.Version,
	}
	if s.MaxSession > 0 {
		a.Settings.MaxSession = queue.Span(s.MaxSession)
	}
	known := queue.LiveKeys()
	for _, key := range slices.Sorted(maps.Keys(r.Overrides.Keys)) {
		if !slices.Contains(known, key) { // of a newer gate
			known = append(known, key)
		}
	}
	for _, key := range known {
		if o, ok := r.Overrides.Keys[key]; ok {
			a.Overrides = append(a.Overrides, named{key, overrideAnswer{o.Value, value(&r.File, key), o.By, moment(o.At)}})
		}
	}
	if r.Age >= 0 {
		at := moment(now.Add(-r.Age))
		a.At = &at
		a.Counts = &countsAnswer{r.Snapshot.Waiting, r.Snapshot.Away, r.Snapshot.Called, r.Snapshot.Active, r.Snapshot.Calls}
	}
	return a
}

// value is a setting as the configuration spells it, nil where it has no meaning.
func value(s *queue.Settings, key string) any {
	if !slices.Contains(queue.LiveKeys(), key) || key == "burst" && s.Rate == queue.NoRate {
		return nil
	}
	return s.Get(key)
}

// overrides is a JSON object whose keys stay in order.
type overrides []named

type named struct {
	key string
	overrideAnswer
}

func (os overrides) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, o := range os {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := encode(&b, o.key); err != nil {
			return nil, err
		}
		b.WriteByte(':')
		if err := encode(&b, o.overrideAnswer); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// moment is written in UTC, to the millisecond (RFC 3339).
type moment time.Time

func (m moment) MarshalJSON() ([]byte, error) {
	return time.Time(m).UTC().AppendFormat(nil, `"2006-01-02T15:04:05.000Z"`), nil
}

// problem is an error as the API tells it (RFC 9457).
type problem struct {
	Type   string     `json:"type"`
	Title  string     `json:"title"`
	Status int        `json:"status"`
	Detail string     `json:"detail"`
	Errors []keyError `json:"errors,omitempty"`
}

// keyError is what is wrong with one key.
type keyError struct {
	Key    string `json:"key,omitempty"`
	Detail string `json:"detail"`
}

func (p problem) write(w http.ResponseWriter) {
	p.Type, p.Title = "about:blank", http.StatusText(p.Status)
	writeJSON(w, p.Status, "application/problem+json", p)
}

func writeJSON(w http.ResponseWriter, status int, media string, v any) {
	var b bytes.Buffer
	if err := encode(&b, v); err != nil {
		panic("BUG: admin: " + err.Error())
	}
	b.WriteByte('\n')
	w.Header().Set("Content-Type", media)
	w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // whoever asked has left
}

// encode writes v as JSON and leaves <, > and & as they are: nothing here is
// read by a browser as anything but JSON.
func encode(b *bytes.Buffer, v any) error {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	b.Truncate(max(0, b.Len()-1)) // the newline
	return err
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n")
}

// leaves are the errors that err joins, one by one.
func leaves(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// quote quotes what a client sent, cut to what is worth reading.
func quote(s string) string {
	if len(s) > 100 {
		s = s[:100] + "..."
	}
	return strconv.Quote(s)
}
