package route

import "bytes"

// What an exception with Static takes out of a room: files as shops serve them to
// everybody. It asks for both a folder and an ending, since either alone is a way
// around somewhere: many a shop answers /drop/x.css with the page of /drop, and
// some keep pages in /media.
var (
	// StaticFolders lie directly below the room's match.
	StaticFolders = []string{
		"_astro", "_next/static", "_nuxt", "assets", "build", "bundles", "css", "dist", "fonts", "images", "img", "js", "media",
		"pub/media", "pub/static", "skin", "static", "themes", "wp-content", "wp-includes",
	}
	// StaticEndings are those of a file's name.
	StaticEndings = []string{
		"avif", "css", "eot", "gif", "ico", "jpeg", "jpg", "js", "map", "mjs", "mp3", "mp4", "otf", "png", "svg", "ttf", "wasm", "webm", "webp",
		"woff", "woff2",
	}
	staticMethods = []string{"GET", "HEAD"}
	staticEnding  = setOf(StaticEndings)
)

func setOf(words []string) map[string]bool {
	set := make(map[string]bool)
	for _, w := range words {
		set[w] = true
	}
	return set
}

// isStatic tells whether the rest of a path, below a match, is a static file. It
// wants names that mean one thing to everybody. A dot before the file's own name
// must be part of a number, as in /js/jquery-3.7.1/jquery.js: some origins run
// /media/page.php for /media/page.php/x.css.
func isStatic(rest []byte) bool {
	name := bytes.LastIndexByte(rest, '/') + 1
	dot := bytes.LastIndexByte(rest, '.')
	if dot <= name || !staticEnding[string(rest[dot+1:])] || !inStaticFolder(rest[:name]) {
		return false
	}
	for i, c := range rest {
		if !staticByte[c] || c == '.' && i < name && (rest[i+1] < '0' || rest[i+1] > '9') {
			return false
		}
	}
	return true
}

// inStaticFolder looks at a path with its last slash.
func inStaticFolder(path []byte) bool {
	for _, f := range StaticFolders {
		if n := len(f); len(path) > n+1 && path[0] == '/' && path[n+1] == '/' && string(path[1:n+1]) == f {
			return true
		}
	}
	return false
}

var staticByte = func() (ok [256]bool) {
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~@/") {
		ok[c] = true
	}
	return
}()
