package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sluicegate/sluice/queue"
)

func (h *handler) patch(w http.ResponseWriter, r *http.Request, before Room, who actor) {
	if why := notJSON(r.Header); why != "" {
		w.Header().Set("Accept-Patch", "application/merge-patch+json, application/json")
		problem{Status: http.StatusUnsupportedMediaType, Detail: why}.write(w)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		p := problem{Status: http.StatusBadRequest, Detail: "the body could not be read: " + err.Error()}
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			p = problem{Status: http.StatusRequestEntityTooLarge, Detail: fmt.Sprintf("the body is larger than %d bytes", maxBody)}
		}
		p.write(w)
		return
	}
	patch, p := readPatch(body)
	if p.Status != 0 {
		p.write(w)
		return
	}

	// A client that hangs up must not leave a change that nobody wrote down.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), changeTimeout)
	defer cancel()
	after, err := h.Rooms.Change(ctx, before.Name, who.name, patch)
	audit := h.Audit.With("by", who.name, "remote", r.RemoteAddr, "room", before.Name)
	switch {
	case err == nil:
		if after.Overrides.Version != before.Overrides.Version {
			audit.Info("room changed", "version", after.Overrides.Version, changes(patch, before, after))
		}
		writeJSON(w, http.StatusOK, "application/json", answer(after, time.Now()))
	case errors.Is(err, queue.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		audit.Warn("room change not confirmed", "asked", string(body), "err", err)
		w.Header().Set("Retry-After", "1")
		problem{
			Status: http.StatusServiceUnavailable,
			Detail: "the store did not confirm the change, look at the room before you repeat it: " + err.Error(),
		}.write(w)
	case errors.Is(err, queue.ErrConflict):
		problem{Status: http.StatusConflict, Detail: "others change this room at the same time; nothing was changed, look again"}.write(w)
	case errors.Is(err, ErrUnknownRoom):
		unknownRoom(w, before.Name)
	case len(queue.Problems(err)) > 0:
		p := problem{Status: http.StatusUnprocessableEntity, Detail: "nothing was changed"}
		for _, bad := range queue.Problems(err) {
			p.Errors = append(p.Errors, keyError{bad.Key, bad.Err.Error()})
		}
		p.write(w)
	default:
		h.Log.Error("room change failed", "room", before.Name, "by", who.name, "err", err)
		problem{Status: http.StatusInternalServerError, Detail: err.Error()}.write(w)
	}
}

// notJSON tells why a body is not taken for a merge patch, "" when it is. A
// form of another site cannot send these types without asking first.
func notJSON(head http.Header) string {
	t := head.Get("Content-Type")
	media, params, err := mime.ParseMediaType(t)
	switch charset, given := params["charset"]; {
	case err != nil || media != "application/merge-patch+json" && media != "application/json":
		return "Content-Type " + quote(t) + ": want application/merge-patch+json"
	case given && !strings.EqualFold(charset, "utf-8"):
		return "charset " + quote(charset) + ": JSON is UTF-8"
	case head.Get("Content-Encoding") != "":
		return "Content-Encoding " + quote(head.Get("Content-Encoding")) + ": want none"
	}
	return ""
}

// readPatch reads one JSON object, each key once and nothing after it. What the
// keys and values mean is for Change to judge.
func readPatch(body []byte) (map[string]any, problem) {
	bad := func(format string, args ...any) (map[string]any, problem) {
		return nil, problem{Status: http.StatusBadRequest, Detail: "the body is not a JSON merge patch: " + fmt.Sprintf(format, args...)}
	}
	if !utf8.Valid(body) {
		return bad("it is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	switch t, err := d.Token(); {
	case err != nil:
		return bad("%s", reason(err))
	case t != json.Delim('{'):
		return bad("it is not an object")
	}
	patch := make(map[string]any)
	var twice []keyError
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return bad("%s", reason(err))
		}
		key, ok := t.(string)
		if !ok { // the decoder refuses other keys itself
			return bad("a key is not a string")
		}
		var value any
		if err := d.Decode(&value); err != nil {
			return bad("%s", reason(err))
		}
		if _, again := patch[key]; again {
			twice = append(twice, keyError{key, "is there twice"})
		}
		patch[key] = value
	}
	if _, err := d.Token(); err != nil {
		return bad("%s", reason(err))
	}
	if _, err := d.Token(); err != io.EOF {
		return bad("something follows the object")
	}
	if twice != nil {
		_, p := bad("a key is there twice")
		p.Errors = twice
		return nil, p
	}
	return patch, problem{}
}

// reason says what the decoder met, for people.
func reason(err error) string {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "it ends too early"
	}
	return err.Error()
}

// changes is what the audit log keeps of a patch: each key before and after.
func changes(patch map[string]any, before, after Room) slog.Attr {
	var keys []any
	for _, key := range queue.LiveKeys() {
		value, asked := patch[key]
		if !asked {
			continue
		}
		change := []any{slog.Any("before", before.Settings.Get(key)), slog.Any("after", after.Settings.Get(key))}
		if value == nil {
			change = append(change, slog.Bool("reset", true))
		}
		keys = append(keys, slog.Group(key, change...))
	}
	return slog.Group("changes", keys...)
}
