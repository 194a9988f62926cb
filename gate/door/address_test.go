package door

import (
	"net/netip"
	"testing"
	"time"

	"github.com/sluicegate/sluice/metrics"
	"github.com/sluicegate/sluice/queue"
)

func books(l AddressLimits) *Addresses {
	if l.IPv4 == 0 {
		l.IPv4, l.IPv6 = 32, 64
	}
	return NewAddresses(l)
}

var perSecond = queue.Rate{N: 5, Per: queue.PerSecond}

func TestAnAddressMayTakeTenSecondsWorthAtOnceAndThenItsRate(t *testing.T) {
	a := books(AddressLimits{Requests: perSecond})
	from := netip.MustParseAddr("192.0.2.1")
	now := int64(time.Hour)
	taken := 0
	for {
		wait, why := a.request(from, false, nil, now)
		if wait > 0 {
			if why != metrics.RefusedRequests || wait != 200*time.Millisecond {
				t.Errorf("refused for %v, because of %v", wait, why)
			}
			break
		}
		taken++
	}
	if taken != 50 {
		t.Errorf("%d at once, want 50", taken)
	}
	if wait, _ := a.request(from, false, nil, now+int64(199*time.Millisecond)); wait == 0 {
		t.Error("taken before the time that was told")
	}
	if wait, _ := a.request(from, false, nil, now+int64(200*time.Millisecond)); wait > 0 {
		t.Error("refused at the time that was told")
	}
	if wait, _ := a.request(netip.MustParseAddr("192.0.2.2"), false, nil, now); wait > 0 {
		t.Error("the neighbour is refused too")
	}
}

func TestNewcomersHaveALimitOfTheirOwn(t *testing.T) {
	a := books(AddressLimits{Newcomers: queue.Rate{N: 1, Per: queue.PerMinute}})
	from := netip.MustParseAddr("192.0.2.1")
	for i := range 10 {
		if wait, _ := a.request(from, true, nil, 1); wait > 0 {
			t.Fatalf("newcomer %d is refused", i)
		}
	}
	if wait, why := a.request(from, true, nil, 1); wait != time.Minute || why != metrics.RefusedNewcomers {
		t.Errorf("the eleventh: %v, %v", wait, why)
	}
	if wait, _ := a.request(from, false, nil, 1); wait > 0 {
		t.Error("who waits already is refused")
	}
}

func TestAddressesOfOneHouseholdAreOne(t *testing.T) {
	for _, c := range []struct {
		a, b string
		v4   int
		one  bool
	}{
		{"2001:db8:1:2::1", "2001:db8:1:2:ffff::9", 32, true},
		{"2001:db8:1:2::1", "2001:db8:1:3::1", 32, false},
		{"192.0.2.1", "192.0.2.2", 32, false},
		{"192.0.2.1", "192.0.2.2", 24, true},
		{"192.0.2.1", "192.0.3.1", 24, false},
	} {
		a := books(AddressLimits{Requests: perSecond, IPv4: c.v4, IPv6: 64})
		for range 50 {
			a.request(netip.MustParseAddr(c.a), false, nil, 1)
		}
		if wait, _ := a.request(netip.MustParseAddr(c.b), false, nil, 1); wait > 0 != c.one {
			t.Errorf("%s and %s with %d bits: one %v, want %v", c.a, c.b, c.v4, wait > 0, c.one)
		}
	}
}

func TestConnectionsOfAnAddressAreCountedUntilTheyEnd(t *testing.T) {
	d := open(t)
	a := books(AddressLimits{Conns: 3})
	from := netip.MustParseAddr("192.0.2.1")
	all := d.arrive(t, 4)
	for i, k := range all {
		for range 2 { // requests on it
			wait, why := a.request(from, false, k, 1)
			if wait > 0 != (i == 3) || i == 3 && why != metrics.RefusedConns {
				t.Errorf("connection %d: %v, %v", i, wait, why)
			}
		}
	}
	all[0].Close()
	all[0].Close()
	if wait, _ := a.request(from, false, all[3], 1); wait > 0 {
		t.Error("a connection that ended still counts")
	}
	ended := d.arrive(t, 1)[0]
	all[1].Close()
	ended.Close()
	a.request(from, false, ended, 1) // it was being answered as it ended
	if wait, _ := a.request(from, false, d.arrive(t, 1)[0], 1); wait > 0 {
		t.Error("a connection that ended before it was counted is counted for ever")
	}
}

func TestTheTableOfAddressesDoesNotGrowAndForgetsWhoOwesLeast(t *testing.T) {
	a := books(AddressLimits{Requests: perSecond})
	greedy := netip.MustParseAddr("192.0.2.1")
	for range 50 {
		a.request(greedy, false, nil, 1)
	}
	i := 0
	if n := testing.AllocsPerRun(100_000, func() {
		i++
		from := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		if wait, _ := a.request(from, false, nil, 2); wait > 0 {
			t.Fatal("somebody is refused for want of room in the table")
		}
	}); n != 0 {
		t.Errorf("an address allocates %v times", n)
	}
	if wait, _ := a.request(greedy, false, nil, 3); wait == 0 {
		t.Error("a crowd made the table forget who took most")
	}
}

func TestWithoutLimitsThereIsNoTable(t *testing.T) {
	if NewAddresses(AddressLimits{IPv4: 32, IPv6: 64}) != nil {
		t.Error("a table is kept for nothing")
	}
	a := books(AddressLimits{Requests: perSecond})
	for range 1000 {
		if wait, _ := a.Request(netip.Addr{}, true, nil); wait > 0 {
			t.Fatal("visitors of a unix socket are taken for one")
		}
	}
}

func BenchmarkAddress(b *testing.B) {
	a := books(AddressLimits{Conns: 10, Requests: queue.Rate{N: 1_000_000, Per: queue.PerSecond}})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		i := 0
		for pb.Next() {
			i++
			a.Request(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), false, nil)
		}
	})
}
