package redis

import (
	"reflect"
	"strings"
	"testing"
)

func TestAddressesOfStores(t *testing.T) {
	good := []struct {
		address string
		addrs   []string
		master  string
		db      int
		cluster bool
		tls     bool
		prefix  string
	}{
		{"redis://127.0.0.1:6379/0", []string{"127.0.0.1:6379"}, "", 0, false, false, "sluice"},
		{"redis://shop-redis/3?prefix=drop", []string{"shop-redis:6379"}, "", 3, false, false, "drop"},
		{"rediss://u:p@[::1]:7000", []string{"[::1]:7000"}, "", 0, false, true, "sluice"},
		{"redis+sentinel://a:1,b:2,c/mymaster/4", []string{"a:1", "b:2", "c:26379"}, "mymaster", 4, false, false, "sluice"},
		{"redis+sentinel://:secret@a,[::2]:5/m", []string{"a:26379", "[::2]:5"}, "m", 0, false, false, "sluice"},
		{"redis+cluster://a:1,b", []string{"a:1", "b:6379"}, "", 0, true, false, "sluice"},
	}
	for _, g := range good {
		o, prefix, err := parse(g.address)
		if err != nil {
			t.Errorf("%s: %v", g.address, err)
			continue
		}
		if !reflect.DeepEqual(o.Addrs, g.addrs) || o.MasterName != g.master || o.DB != g.db ||
			o.IsClusterMode != g.cluster || (o.TLSConfig != nil) != g.tls || prefix != g.prefix {
			t.Errorf("%s: %v %q %d %v %v %q", g.address, o.Addrs, o.MasterName, o.DB, o.IsClusterMode, o.TLSConfig != nil, prefix)
		}
	}
	for _, address := range []string{
		"", "memory", "http://a", "redis://", "redis://a:1,b:2", "redis://a/x", "redis://a/-1", "redis://a?prefx=b",
		"redis://a?prefix=", "redis://a?prefix={b}", "redis+sentinel://a:1", "redis+cluster://a/1", "redis+cluster://a,,b",
		"redis://u:hunter2@a:b:c", "redis://u:hunter2@%zz", "redis://a:99999",
	} {
		_, _, err := parse(address)
		if err == nil {
			t.Errorf("%q was taken", address)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the error shows the password: %v", address, err)
		}
	}
}
