package config

import "testing"

func TestNetworksThatAreEverybodyAreWarnedOf(t *testing.T) {
	const room = "\nrooms:\n- name: drop\n  match: [{path: /drop}]\n  rate: 10/s\n  except: "
	for text, want := range map[string][]string{
		"trusted_proxies: [10.0.0.0/8, 0.0.0.0/0, \"::/0\"]": {
			"sluice.yaml:2:31: trusted_proxies[1]: 0.0.0.0/0 is everybody: any visitor's X-Forwarded-For", "trusted_proxies[2]: ::/0 is everybody",
		},
		"trusted_proxies: 0.0.0.0/0":                                     {"sluice.yaml:2:18: trusted_proxies: 0.0.0.0/0 is everybody"},
		"trusted_proxies: [10.0.0.0/8, 2001:db8::/32]":                   nil,
		room + "[{source: [192.0.2.0/24, 0.0.0.0/0]}]":                   {"rooms[0].except[0].source[1]: 0.0.0.0/0 is everybody with such an address: none of them waits"},
		room + "[{path: /drop/hook, methods: POST}, {source: \"::/0\"}]": {"rooms[0].except[1].source: ::/0 is everybody"},
		room + "[{path: /drop/, source: 0.0.0.0/0}]":                     {"rooms[0].except[0].source: 0.0.0.0/0 is everybody"},
		room + "[{path: /drop/hook, source: 0.0.0.0/0}]":                 nil, // of the rest somebody waits
		room + "[{methods: GET, source: 0.0.0.0/0}]":                     nil,
		room + "[{source: 10.0.0.0/8}]":                                  nil,
	} {
		t.Run(text, func(t *testing.T) {
			wantWarnings(t, load(t, t.TempDir(), "origin: {url: http://127.0.0.1:3000}\n"+text), want...)
		})
	}
}
