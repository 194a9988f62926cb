package shop

import (
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"
)

// A lamp is one product of the edition.
type lamp struct {
	ID      string
	Name    string
	Line    string // one sentence for the list
	Story   string // a paragraph for its own page
	Size    string
	Price   int // whole pounds
	Colours []colour
}

// lamps is the edition, in the order of the list. The first colour is the one
// shown first.
var lamps = []lamp{
	{
		ID: "skerry", Name: "Skerry", Price: 148, Size: "31 cm tall, 1.9 kg",
		Line:    "The storm lantern we started with.",
		Story:   "A mouth-blown globe in a spun brass cage. The flame is a filament now, but it still leans a little when somebody walks past.",
		Colours: []colour{amber, seaGlass, dusk},
	},
	{
		ID: "medusa", Name: "Medusa", Price: 236, Size: "44 cm across, 3 m of cord",
		Line:    "A pendant that drifts over the table.",
		Story:   "Seven ribbons of glass, drawn by hand while the bell is still soft. No two fall alike, so no two Medusas do.",
		Colours: []colour{dusk, moonlight, coral},
	},
	{
		ID: "longstone", Name: "Longstone", Price: 192, Size: "58 cm tall, 2.6 kg",
		Line:    "A tower for the end of a long shelf.",
		Story:   "Four rings of glass, each pulled a little narrower than the one below. The lantern room turns once a minute, as a harbour light should.",
		Colours: []colour{seaGlass, amber, moonlight},
	},
	{
		ID: "nautilus", Name: "Nautilus", Price: 264, Size: "27 cm across, 2.2 kg",
		Line:    "Eleven chambers, lit from the smallest.",
		Story:   "The light starts in the innermost chamber and gets softer with every wall that it passes. It takes one glassblower a day, and the first try is seldom the one we keep.",
		Colours: []colour{coral, amber, seaGlass},
	},
	{
		ID: "bellbuoy", Name: "Bell Buoy", Price: 124, Size: "22 cm tall, 1.1 kg",
		Line:    "Rocks when touched. Never falls over.",
		Story:   "A weighted keel under a small lit cage. Give it a push when you pass: it rolls for half a minute and comes to rest upright.",
		Colours: []colour{amber, coral, moonlight},
	},
	{
		ID: "springtide", Name: "Spring Tide", Price: 178, Size: "36 cm across, 2.4 kg",
		Line:    "A full moon on a wave of oak.",
		Story:   "Matt opal glass on a stand cut from one plank of oak. Turn the moon on its wave and the light waxes; turn it back and it wanes.",
		Colours: []colour{moonlight, dusk, seaGlass},
	},
}

func lampByID(id string) (lamp, int, bool) {
	for i, l := range lamps {
		if l.ID == id {
			return l, i, true
		}
	}
	return lamp{}, 0, false
}

// maxPieces is how many pieces one order may hold.
const maxPieces = 4

// An order is a sale. Its id cannot be guessed: whoever knows it sees it.
type order struct {
	ID     string
	Number int // 1 is the first order of the day
	Lamp   lamp
	Name   string
	Pieces int
	Colour colour
	At     time.Time
	Paid   bool
}

// Total is the price of the order in whole pounds.
func (o order) Total() int { return o.Pieces * o.Lamp.Price }

// books are the stock and the orders. Every order takes at least one piece, so
// what they hold is bounded by the stock.
type books struct {
	mu      sync.Mutex
	edition []int // pieces of each lamp when the edition is full
	left    []int // pieces of each lamp now
	orders  []*order
	byID    map[string]*order
	byToken map[string]*order
}

// errTooFew reports that fewer pieces are left than were asked for.
var errTooFew = errors.New("shop: not enough left")

func (b *books) open(stock int) {
	b.byID = make(map[string]*order)
	b.byToken = make(map[string]*order)
	for i := range lamps {
		n := stock / len(lamps)
		if i < stock%len(lamps) {
			n++
		}
		b.edition = append(b.edition, n)
	}
	b.left = append(b.left, b.edition...)
}

// restock fills the edition up again and forgets all but the latest orders, so that a
// demo may run for days.
func (b *books) restock() {
	const kept = 1000
	b.mu.Lock()
	defer b.mu.Unlock()
	copy(b.left, b.edition)
	if len(b.orders) <= kept {
		return
	}
	drop := b.orders[:len(b.orders)-kept]
	gone := make(map[*order]bool, len(drop))
	for _, o := range drop {
		gone[o] = true
		delete(b.byID, o.ID)
	}
	for token, o := range b.byToken {
		if gone[o] {
			delete(b.byToken, token)
		}
	}
	b.orders = append([]*order(nil), b.orders[len(drop):]...)
}

// place takes the pieces out of stock and books the order, once per token: the
// same token again gets the order that it placed, whatever else it says. With
// errTooFew the count is what is left.
func (b *books) place(token string, o order) (order, int, error) {
	_, i, ok := lampByID(o.Lamp.ID)
	if !ok {
		panic(fmt.Sprintf("BUG: order for unknown lamp %q", o.Lamp.ID))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if placed, ok := b.byToken[token]; ok {
		return *placed, b.left[i], nil
	}
	if b.left[i] < o.Pieces {
		return order{}, b.left[i], errTooFew
	}
	b.left[i] -= o.Pieces
	o.ID = rand.Text()[:12]
	o.Number = 1
	if n := len(b.orders); n > 0 {
		o.Number = b.orders[n-1].Number + 1
	}
	b.orders = append(b.orders, &o)
	b.byID[o.ID] = &o
	b.byToken[token] = &o
	return o, b.left[i], nil
}

// pay marks an order as paid and reports whether there is such an order.
func (b *books) pay(id string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	o, ok := b.byID[id]
	if ok {
		o.Paid = true
	}
	return ok
}

func (b *books) find(id string) (order, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if o, ok := b.byID[id]; ok {
		return *o, true
	}
	return order{}, false
}

// stock tells the pieces left and the size of the edition, lamp by lamp.
func (b *books) stock() (left, edition []int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]int(nil), b.left...), b.edition
}

// latest gives up to n orders, the newest first, and how many there were in all.
func (b *books) latest(n int) ([]order, int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.orders) == 0 {
		return nil, 0
	}
	var out []order
	for i := len(b.orders) - 1; i >= 0 && len(out) < n; i-- {
		out = append(out, *b.orders[i])
	}
	return out, out[0].Number
}

func sum(ns []int) int {
	total := 0
	for _, n := range ns {
		total += n
	}
	return total
}
