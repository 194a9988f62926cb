package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// newRoomCommand shows rooms and changes their settings while they run.
func newRoomCommand() *cobra.Command {
	var flags adminFlags
	var asJSON bool
	client := func() (*adminClient, error) { return flags.client(10 * time.Second) }
	room := &cobra.Command{
		Use:   "room",
		Short: "Show rooms and change their settings while they run",
		Long: `Show rooms and change their settings while they run.

A change is seen by all gates of the store within a second and wins over every
flag, variable and file, through restarts, until it is reset. What can be
changed: rate, burst, max_active, max_waiting, session, mode and message.`,
		Example: `  sluice room list
  sluice room set drop mode=hold
  sluice room set drop rate=300/m max_active=500 message="back at noon"
  sluice room reset drop mode`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError("sluice room has no command %q: want list, show, set or reset", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	flags.register(room)
	room.PersistentFlags().BoolVar(&asJSON, "json", false, "print the gate's answer as JSON")

	list := &cobra.Command{
		Use: "list", Short: "List the rooms, who waits and who is inside", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := client()
			if err != nil {
				return err
			}
			rooms, raw, err := c.Rooms(cmd.Context())
			if err != nil {
				return err
			}
			return output(cmd.OutOrStdout(), asJSON, raw, func(w io.Writer) { writeRooms(w, rooms) })
		},
	}
	show := &cobra.Command{
		Use: "show NAME", Short: "Show one room and every setting", Args: roomNamed(0, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := client()
			if err != nil {
				return err
			}
			r, raw, err := c.Room(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return output(cmd.OutOrStdout(), asJSON, raw, func(w io.Writer) { writeRoom(w, &r) })
		},
	}
	change := func(cmd *cobra.Command, name string, patchOf func(adminRoom) map[string]any) error {
		c, err := client()
		if err != nil {
			return err
		}
		before, after, raw, err := c.change(cmd.Context(), name, patchOf)
		if err != nil {
			return refused(err)
		}
		return output(cmd.OutOrStdout(), asJSON, raw, func(w io.Writer) { writeChange(w, &before, &after) })
	}
	set := &cobra.Command{
		Use: "set NAME KEY=VALUE...", Short: "Change settings of a room", Args: roomNamed(1, -1),
		Long: `Change settings of a room, spelled as in the file: all of them or, when one is
refused, none. A value ends where the shell ends it: quote a message.`,
		Example: `  sluice room set drop mode=hold
  sluice room set drop rate=300/m max_active=none
  sluice room set drop message="The sale goes on at noon."`,
		RunE: func(cmd *cobra.Command, args []string) error {
			patch, err := parsePatch(args[1:])
			if err != nil {
				return err
			}
			return change(cmd, args[0], func(adminRoom) map[string]any { return patch })
		},
	}
	reset := &cobra.Command{
		Use: "reset NAME [KEY...]", Short: "Take changes back: to what the file says", Args: roomNamed(0, -1),
		Long: "Take back changes of a room, so that flags, environment and file count again. Without a KEY all of them.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return change(cmd, args[0], func(before adminRoom) map[string]any {
				keys := args[1:]
				if len(keys) == 0 {
					keys = slices.Collect(maps.Keys(before.Overrides))
				}
				patch := make(map[string]any)
				for _, key := range keys {
					patch[key] = nil
				}
				return patch
			})
		},
	}
	room.AddCommand(list, show, set, reset)
	return strict(room)
}

// roomNamed wants the name of a room, and behind it so many arguments; with most
// below 0 any number of them.
func roomNamed(least, most int) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) == 0 || strings.Contains(args[0], "="):
			return errors.New("name a room first: sluice room list tells which there are")
		case len(args) <= least:
			return fmt.Errorf("say what to change of the room %q, such as rate=600/m", args[0])
		case most >= 0 && len(args) > 1+most:
			return fmt.Errorf("%q is one argument too many", args[1+most])
		}
		return nil
	}
}

// parsePatch reads KEY=VALUE arguments. What the keys and values mean is for
// the gate to judge, which may know more of them.
func parsePatch(args []string) (map[string]any, error) {
	patch := make(map[string]any)
	for _, arg := range args {
		key, text, ok := strings.Cut(arg, "=")
		if !ok || key == "" {
			return nil, usageError("%q: want KEY=VALUE, such as rate=600/m", arg)
		}
		if _, twice := patch[key]; twice {
			return nil, usageError("%s is given twice", key)
		}
		patch[key] = text
		switch key {
		case "burst", "max_active", "max_waiting":
			if n, err := strconv.ParseInt(text, 10, 64); err == nil && text[0] != '+' {
				patch[key] = json.Number(strconv.FormatInt(n, 10))
			}
		}
	}
	return patch, nil
}

// refused makes a value that the gate does not take an error of who typed it.
func refused(err error) error {
	var p *adminProblem
	if errors.As(err, &p) && len(p.Errors) > 0 {
		var b strings.Builder
		b.WriteString("nothing was changed:")
		for _, e := range p.Errors {
			b.WriteString("\n  " + printable(e.Key) + ": " + printable(e.Detail))
		}
		return usageError("%s", b.String())
	}
	return err
}

// output writes the answer as it came, or as a table.
func output(w io.Writer, asJSON bool, raw []byte, table func(io.Writer)) error {
	if asJSON {
		_, err := w.Write(raw)
		return err
	}
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	table(t)
	if err := t.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(b.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// stale is an age at which numbers no longer tell how a room stands: a room is
// ticked once a second at least.
const stale = 5 * time.Second

func writeRooms(w io.Writer, rooms []adminRoom) {
	if len(rooms) == 0 {
		fmt.Fprintln(w, "There are no rooms.")
		return
	}
	fmt.Fprintln(w, "ROOM\tMODE\tRATE\tMAX ACTIVE\tWAITING\tABSENT\tCALLED\tACTIVE\tCHANGED")
	for i := range rooms {
		r := &rooms[i]
		waiting, absent, called, active := "-", "-", "-", "-"
		if c := r.Counts; c != nil {
			waiting, absent, called, active = count(c.Waiting), count(c.Absent), count(c.Called), count(c.Active)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Name, printable(r.Settings.Mode), printable(r.Settings.Rate), text(r.Settings.MaxActive),
			waiting, absent, called, active, orDash(strings.Join(r.overridden(), " ")))
	}
	for i := range rooms {
		if late := rooms[i].late(); late != "" {
			fmt.Fprintf(w, "%s: %s\n", rooms[i].Name, late)
		}
	}
}

func writeRoom(w io.Writer, r *adminRoom) {
	if c := r.Counts; c != nil {
		fmt.Fprintf(w, "%s: %d waiting, %d absent, %d called, %d active\n", r.Name, c.Waiting, c.Absent, c.Called, c.Active)
	} else {
		fmt.Fprintf(w, "%s\n", r.Name)
	}
	if late := r.late(); late != "" {
		fmt.Fprintln(w, late)
	}
	fmt.Fprintln(w, "\nSETTING\tNOW\tFILE\tCHANGED")
	for _, s := range r.settings() {
		file, changed := "", ""
		if o, ok := r.Overrides[s.key]; ok {
			file = text(o.File)
			changed = o.At.UTC().Format("2006-01-02 15:04:05 UTC") + " by " + printable(o.By)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", s.key, s.value, file, changed)
	}
	if len(r.Overrides) > 0 {
		fmt.Fprintf(w, "\nWhat was changed wins over the file until: sluice room reset %s [KEY...]\n", r.Name)
	}
}

func writeChange(w io.Writer, before, after *adminRoom) {
	old := before.settings()
	var set []string
	changed := false
	for i, s := range after.settings() {
		was, wasThere := before.Overrides[s.key]
		is, isThere := after.Overrides[s.key]
		note := ""
		switch {
		case isThere && !(wasThere && was.At.Equal(is.At)):
			set = append(set, s.key)
			if old[i].value == s.value {
				note = "\twhatever the file says"
			}
		case wasThere && !isThere:
			note = "\tas the file says"
		case old[i].value == s.value:
			continue
		default:
			note = "\tfollows"
		}
		changed = true
		fmt.Fprintf(w, "%s\t%s\t%s -> %s%s\n", after.Name, s.key, old[i].value, s.value, note)
	}
	if !changed {
		fmt.Fprintf(w, "%s: nothing to change\n", after.Name)
	}
	if set != nil {
		fmt.Fprintf(w, "It wins over the file until: sluice room reset %s %s\n", after.Name, strings.Join(set, " "))
	}
}

// setting is one setting of a room, for people.
type setting struct{ key, value string }

func (r *adminRoom) settings() []setting {
	s := &r.Settings
	return []setting{
		{"mode", printable(s.Mode)},
		{"rate", printable(s.Rate)},
		{"burst", text(s.Burst)},
		{"max_active", text(s.MaxActive)},
		{"max_waiting", text(s.MaxWaiting)},
		{"session", printable(s.Session)},
		{"max_session", printable(s.MaxSession)},
		{"claim_within", printable(s.ClaimWithin)},
		{"keep_place", printable(s.KeepPlace)},
		{"poll.min", printable(s.Poll.Min)},
		{"poll.max", printable(s.Poll.Max)},
		{"message", text(s.Message)},
	}
}

// overridden lists the settings that were changed while the room runs.
func (r *adminRoom) overridden() []string {
	var keys []string
	for _, s := range r.settings() {
		if _, ok := r.Overrides[s.key]; ok {
			keys = append(keys, s.key)
		}
	}
	return keys
}

// late says so when the numbers of a room are not those of now.
func (r *adminRoom) late() string {
	switch {
	case r.Counts == nil:
		return "This gate has not heard its store yet: there are no numbers."
	case r.Age >= stale:
		return fmt.Sprintf("The numbers are %s old: this gate does not hear its store.", r.Age.Round(time.Second))
	}
	return ""
}

func count(n int64) string { return strconv.FormatInt(n, 10) }

// text is a setting's value for people.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return "-"
	case string:
		return orDash(printable(v))
	default:
		return printable(fmt.Sprint(v))
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
