//go:build !race

package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestLargeFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "large.yaml")
	if err := os.WriteFile(path, []byte("origin: {url: http://a}\n"+strings.Repeat("#\n", 1<<19)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(Source{File: path}); err == nil || err.Error() != path+": is larger than 1 MiB" {
		t.Errorf("got %v", err)
	}
	// A small file that stands for 1000 x 1000 x 1000 values.
	many := func(first, alias string) string { return "[" + first + strings.Repeat(", "+alias, 999) + "]" }
	item := "&i {methods: &m " + many("&g GET", "*g") + "}"
	data := "rooms: " + many("&r {except: &e "+many(item, "*i")+"}", "*r") + "\n"
	start := time.Now()
	_, err := Load(Source{File: "x.yaml", Data: []byte(data)})
	if err == nil || !strings.Contains(err.Error(), "stand for more than") {
		t.Errorf("got %.200v", err)
	}
	t.Logf("%d bytes took %s and %d problems", len(data), time.Since(start), len(err.(Problems)))
}

func TestALongFileWithASyntaxErrorTakesNoLongTime(t *testing.T) {
	for _, data := range []string{"a: [\n" + strings.Repeat("b,\n", 60_000), strings.Repeat("a: b\n", 60_000) + "a: b: c\n"} {
		start := time.Now()
		_, err := Load(Source{File: "x.yaml", Data: []byte(data)})
		if problems, ok := err.(Problems); !ok || len(problems) != 1 || problems[0].Line == 0 {
			t.Errorf("got %v", err)
		}
		t.Logf("%d bytes: %v in %s", len(data), err, time.Since(start))
	}
}
