package config

import (
	"os"
	"strings"
	"testing"
)

func TestEveryRowOfTheManualsTablesHasACellForEachColumn(t *testing.T) {
	text, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	columns, tables := 0, 0
	for i, line := range strings.Split(string(text), "\n") {
		if !strings.HasPrefix(line, "|") {
			columns = 0
			continue
		}
		cells := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|") - 1
		if columns == 0 {
			columns = cells
			tables++
		}
		if cells != columns {
			t.Errorf("configuration.md:%d has %d cells, its table %d columns: %.60s", i+1, cells, columns, line)
		}
	}
	if tables < 4 {
		t.Errorf("%d tables, want 4 at least", tables)
	}
}
