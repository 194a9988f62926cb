package config

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.yaml", "testdata/bad/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if data == nil {
			data = []byte{}
		}
		s := Source{File: "testdata/good/fuzz.yaml", Data: data, Env: lookup(environment)}
		c, err := Load(s)
		if err != nil {
			var problems Problems
			if !errors.As(err, &problems) || len(problems) == 0 || c != nil {
				t.Fatalf("got %v, %v", c, err)
			}
			lines := 1 + bytes.Count(data, []byte("\n")) + bytes.Count(data, []byte("\r"))
			for _, p := range problems {
				if p.Message == "" || p.Line < 0 || p.Column < 0 || p.File == s.File && p.Line > lines {
					t.Errorf("a problem that stands nowhere, of %d lines: %#v", lines, p)
				}
			}
			return
		}
		if err := sound(c); err != nil {
			t.Errorf("loaded, but: %v", err)
		}
		again, err := Load(s)
		if err != nil {
			t.Fatalf("loaded once, then: %v", err)
		}
		if c.SecretGenerated {
			again.Secrets = c.Secrets
		}
		if !reflect.DeepEqual(plain(*c), plain(*again)) {
			t.Errorf("loaded twice as\n%+v\n%+v", c, again)
		}
	})
}
