package shop

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"mime"
	"net/http"
	"path"
	"time"
)

//go:embed assets
var assetFS embed.FS

type asset struct {
	body []byte
	kind string
	tag  string
}

// A colour is one the lamps are made in. Its paint stands for the custom
// properties at the head of every lamp's picture.
type colour struct {
	ID    string
	Name  string
	paint string
}

// The paints: evening sky from top to bottom, then glass from bright to deep,
// then the light it gives.
var (
	amber     = colour{"amber", "Amber", "--sky:#2b5563;--sea:#10242f;--pale:#fff1c9;--glass:#f6b44b;--deep:#b9601d;--light:#ffc766"}
	seaGlass  = colour{"sea-glass", "Sea glass", "--sky:#23525a;--sea:#0b2529;--pale:#e6fff0;--glass:#7fd6b4;--deep:#257f71;--light:#9ff0cd"}
	dusk      = colour{"dusk", "Dusk", "--sky:#5d4579;--sea:#201a3a;--pale:#ffeaf6;--glass:#d9a2e0;--deep:#7d4a9b;--light:#f3b9ee"}
	moonlight = colour{"moonlight", "Moonlight", "--sky:#3a5280;--sea:#131d38;--pale:#fffdf2;--glass:#c9dbf4;--deep:#6484b5;--light:#dfeaff"}
	coral     = colour{"coral", "Coral", "--sky:#75424f;--sea:#2b1526;--pale:#fff0e2;--glass:#ff9f83;--deep:#b8474c;--light:#ffb596"}
)

// Every lamp's picture has its colours between these two, so that one drawing
// serves for all of them.
var paintOpen, paintClose = []byte("<style>:root{"), []byte("}</style>")

// assets reads what is embedded and draws every lamp in each of its colours, as
// LAMP-COLOUR.svg.
func assets() map[string]asset {
	files := make(map[string]asset)
	add := func(name string, body []byte) {
		sum := sha256.Sum256(body)
		files[name] = asset{
			body: body,
			kind: mime.TypeByExtension(path.Ext(name)),
			tag:  `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`,
		}
	}
	entries, err := assetFS.ReadDir("assets")
	if err != nil {
		panic(fmt.Sprintf("BUG: embedded assets: %v", err))
	}
	for _, e := range entries {
		body, err := assetFS.ReadFile("assets/" + e.Name())
		if err != nil {
			panic(fmt.Sprintf("BUG: embedded assets: %v", err))
		}
		add(e.Name(), body)
	}
	for _, l := range lamps {
		drawing := files[l.ID+".svg"].body
		head, rest, ok := bytes.Cut(drawing, paintOpen)
		_, tail, closed := bytes.Cut(rest, paintClose)
		if !ok || !closed {
			panic(fmt.Sprintf("BUG: %s.svg has no paint", l.ID))
		}
		for _, c := range l.Colours {
			add(l.ID+"-"+c.ID+".svg", bytes.Join([][]byte{head, paintOpen, []byte(c.paint), paintClose, tail}, nil))
		}
	}
	return files
}

func (s *Shop) asset(w http.ResponseWriter, r *http.Request) {
	a, ok := s.files[r.PathValue("file")]
	if !ok {
		s.missing(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("ETag", a.tag)
	h.Set("Cache-Control", "public, max-age=3600")
	h.Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.body))
}
