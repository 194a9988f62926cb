package queue

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
)

// ApplyPatch returns what a merge patch (RFC 7396) makes of a room's overrides,
// and the settings that are then in force. File is the room's configuration,
// current what overrides it now. A value in the patch is what Set takes; nil
// resets the key to the configuration.
//
// It is all or nothing: an error joins a Problem for every key that cannot be
// changed so (see Problems), and current stays in force. What was wrong before
// and is not in the patch refuses nothing: an operator must be able to put a
// room on hold although its file no longer goes with an older override.
//
// A patch may name the version of the overrides that it is meant for. Where they have
// another it is refused with ErrConflict: others changed the room meanwhile, as one may
// whose own request hung somewhere and is carried out late.
//
// A patch that changes nothing returns current, by whose Version the caller
// sees that there is nothing to store.
func ApplyPatch(file Settings, current Overrides, patch map[string]any, by string, at time.Time) (next Overrides, effective Settings, err error) {
	before, earlier := current.InForce(file)
	if known, ok := patch["version"]; ok {
		if n, err := strconv.ParseInt(fmt.Sprint(known), 10, 64); err != nil || n < 0 {
			return current, before, Problem{"version", fmt.Errorf("%v: want the number that the room was shown with", known)}
		} else if n != current.Version {
			return current, before, fmt.Errorf("version %d: it is at %d: %w", n, current.Version, ErrConflict)
		}
		patch = maps.Clone(patch)
		delete(patch, "version")
	}
	next = Overrides{Version: current.Version + 1, Keys: make(map[string]Override, len(current.Keys)+len(patch))}
	maps.Copy(next.Keys, current.Keys)

	var problems []error
	failed := make(map[string]bool)
	changed := false
	for _, key := range inOrder(patch) {
		override, keep, err := patched(file, key, patch[key])
		old, was := current.Keys[key]
		switch {
		case patch[key] == nil && was: // also a key that only a newer gate knows
			delete(next.Keys, key)
			changed = true
		case err != nil:
			problems = append(problems, err)
			failed[key] = true
		case keep && !(was && bytes.Equal(old.Value, override)):
			next.Keys[key] = Override{Value: override, By: by, At: at}
			changed = true
		}
	}

	effective, now := next.InForce(file)
	for _, p := range now {
		_, asked := patch[p.Key]
		known := slices.ContainsFunc(earlier, func(e Problem) bool { return e.Error() == p.Error() })
		said := failed[p.Key] || p.Key == "burst" && failed["rate"]
		if !said && (asked || !known) {
			problems = append(problems, p)
		}
	}
	if problems != nil {
		return current, before, errors.Join(problems...)
	}
	if !changed {
		return current, before, nil
	}
	return next, effective, nil
}

// patched checks one key of a patch by itself, and returns its value as the
// configuration would spell it. There is none to keep for nil.
func patched(file Settings, key string, value any) (written json.RawMessage, keep bool, err error) {
	switch value.(type) {
	case nil:
		if _, ok := live[key]; ok {
			return nil, false, nil
		}
	case map[string]any, []any:
		if _, ok := live[key]; ok {
			return nil, false, Problem{key, errors.New("an object or a list: want a single value")}
		}
	}
	if err := file.Set(key, value); err != nil {
		return nil, false, err
	}
	spelled := file.Get(key)
	if key == "burst" { // Get tells what follows from the rate, which may be none
		spelled = file.Burst
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(spelled); err != nil {
		return nil, false, Problem{key, err}
	}
	return bytes.TrimRight(b.Bytes(), "\n"), true, nil
}

// InForce returns the settings that a gate goes by, and what is wrong with them
// for its log. One override that does not fit never takes the others out of
// force, least of all a mode: an override that cannot be read, as one of a newer
// gate, is left out by itself, and what does not go together with a changed file
// stays in force. A configured burst is left out when the rate is overridden by
// none, which has no use for it.
func (o Overrides) InForce(file Settings) (Settings, []Problem) {
	s := file
	var problems []Problem
	for _, key := range inOrder(o.Keys) {
		value, err := decodeValue(o.Keys[key].Value)
		if err != nil {
			problems = append(problems, Problem{key, err})
			continue
		}
		with := s
		if err := with.Set(key, value); err != nil {
			problems = append(problems, Problems(err)...)
			continue
		}
		s = with
	}
	if _, ok := o.Keys["burst"]; !ok && s.Rate == NoRate {
		s.Burst = 0
	}
	return s, append(problems, s.Check()...)
}

// inOrder returns the keys as LiveKeys lists them, the unknown ones last.
func inOrder[V any](m map[string]V) []string {
	keys := LiveKeys()
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return slices.DeleteFunc(keys, func(key string) bool { _, ok := m[key]; return !ok })
}

// Problems returns every Problem that err is made of.
func Problems(err error) []Problem {
	switch e := err.(type) {
	case nil:
		return nil
	case Problem:
		return []Problem{e}
	case interface{ Unwrap() []error }:
		var out []Problem
		for _, err := range e.Unwrap() {
			out = append(out, Problems(err)...)
		}
		return out
	default:
		return Problems(errors.Unwrap(err))
	}
}
