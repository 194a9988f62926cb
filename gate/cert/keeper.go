package cert

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicegate/sluice/metrics"
)

// Config is what visitors find at TLS listeners.
type Config struct {
	Files      []Files
	ACME       ACME
	MinVersion uint16 // 0: TLS 1.2
}

// Keeper has the certificates. Run keeps them fresh.
type Keeper struct {
	log      *slog.Logger
	metrics  *metrics.Metrics
	askEvery time.Duration

	shelf atomic.Pointer[shelf]
	conf  atomic.Pointer[tls.Config]
	acme  atomic.Pointer[authority] // nil: none

	mu      sync.Mutex // guards what follows, and changes of the above
	config  Config
	files   []loaded
	got     map[string]*tls.Certificate // from the authority
	changed chan struct{}               // Set was called
}

// loaded is a pair of files and what was made of them.
type loaded struct {
	Files
	cert    *tls.Certificate
	sum     [sha256.Size]byte // of what it was made of
	suspect string            // what is wrong with them since the last look; "": nothing
	told    bool              // and was said
}

// lookEvery is how often files are read again. They are compared by what stands in
// them: times and names of files tell little where they are links that move.
const lookEvery = time.Second

// New returns a keeper of nothing; see Set.
func New(log *slog.Logger, m *metrics.Metrics) *Keeper {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if m == nil {
		m = metrics.Discard()
	}
	k := &Keeper{log: log, metrics: m, askEvery: askEvery, got: make(map[string]*tls.Certificate), changed: make(chan struct{}, 1)}
	k.shelf.Store(newShelf(nil, nil))
	return k
}

// suites are those of TLS 1.2 with forward secrecy and authenticated encryption;
// TLS 1.3 has no others.
var suites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// Set puts a configuration in force. On an error everything stays as it was.
func (k *Keeper) Set(c Config) error {
	show, err := k.Prepare(c)
	if err == nil {
		show()
	}
	return err
}

// Prepare reads what a configuration names, and returns what puts it in force. Until
// that is called everything stays as it was; one is called before the next is prepared.
func (k *Keeper) Prepare(c Config) (show func(), err error) {
	var files []loaded
	for _, f := range c.Files {
		l := loaded{Files: f}
		p, err := f.read()
		if err == nil {
			l.sum = p.sum()
			l.cert, err = f.parse(p)
		}
		if err != nil {
			return nil, err
		}
		files = append(files, l)
	}
	old := k.acme.Load()
	if old != nil && old.is(c.ACME) {
		return func() { k.set(c, files, old) }, nil
	}
	next, err := newAuthority(c.ACME, k.log)
	if err != nil {
		return nil, err
	}
	return func() { k.set(c, files, next) }, nil
}

func (k *Keeper) set(c Config, files []loaded, acme *authority) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if old := k.acme.Load(); old != acme {
		k.acme.Store(acme)
		old.retire()
		k.got = acme.cached()
	}
	if old := k.conf.Load(); old == nil || k.config.MinVersion != c.MinVersion || (len(k.config.ACME.Hosts) > 0) != (len(c.ACME.Hosts) > 0) {
		k.conf.Store(k.tlsConfig(c))
	}
	k.config, k.files = c, files
	k.show()
	select {
	case k.changed <- struct{}{}:
	default:
	}
}

func (k *Keeper) tlsConfig(c Config) *tls.Config {
	conf := &tls.Config{
		GetCertificate: k.find,
		MinVersion:     max(c.MinVersion, tls.VersionTLS12),
		CipherSuites:   suites,
		NextProtos:     []string{"http/1.1"}, // the gate speaks nothing else
	}
	if len(c.ACME.Hosts) > 0 {
		conf.NextProtos = append(conf.NextProtos, challengeProto)
	}
	return conf
}

// show puts what there is on the shelf. k.mu is held.
func (k *Keeper) show() {
	var files []*tls.Certificate
	expiry := make(map[string]time.Time)
	note := func(c *tls.Certificate) {
		name := c.Leaf.Subject.CommonName
		if n := names(c); len(n) > 0 {
			name = n[0]
		}
		if at, ok := expiry[name]; !ok || c.Leaf.NotAfter.Before(at) {
			expiry[name] = c.Leaf.NotAfter
		}
	}
	for _, f := range k.files {
		files = append(files, f.cert)
		note(f.cert)
	}
	acme := make(map[string]*tls.Certificate)
	for _, host := range k.config.ACME.Hosts {
		acme[host] = k.got[host]
		if c := k.got[host]; c != nil {
			note(c)
		}
	}
	k.shelf.Store(newShelf(files, acme))
	k.metrics.Certificates(expiry)
}

func (k *Keeper) find(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if isChallenge(hello) {
		if a := k.acme.Load(); a != nil {
			return a.manager.GetCertificate(hello)
		}
	}
	return k.shelf.Load().find(hello)
}

// Covers tells whether there is, or will be, a certificate for a host: a name in
// lower case or an address, without a port.
func (k *Keeper) Covers(host string) bool { return k.shelf.Load().covers(host) }

// Run keeps certificates fresh until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { k.runAuthority(ctx) })
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			k.look(time.Now())
		}
	}
}

// look reads the files again. Of two files one is written before the other, so what
// is wrong is said when it was so at two looks, and once.
func (k *Keeper) look(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	news := false
	for i := range k.files {
		f := &k.files[i]
		c, sum, err := f.again(now)
		switch {
		case err != nil && f.suspect != err.Error():
			f.suspect, f.told = err.Error(), false
		case err != nil && !f.told:
			f.told = true
			k.log.Error("a certificate changed and cannot be used; the one before stays in use",
				"cert", f.Cert, "error", err, "expires", f.cert.Leaf.NotAfter.UTC())
		case err == nil:
			f.suspect, f.told = "", false
			if sum != f.sum {
				f.cert, f.sum, news = c, sum, true
				k.log.Info("a certificate was read again", "cert", f.Cert, "names", names(c), "expires", c.Leaf.NotAfter.UTC())
			}
		}
	}
	if news {
		k.show()
	}
}

// again reads the files anew; what stood in them before is taken as it was.
func (f *loaded) again(now time.Time) (*tls.Certificate, [sha256.Size]byte, error) {
	p, err := f.read()
	if err != nil {
		return nil, f.sum, err
	}
	sum := p.sum()
	if sum == f.sum {
		return f.cert, sum, nil
	}
	c, err := f.parse(p)
	if err == nil {
		if err = Valid(c, now); err != nil {
			err = fmt.Errorf("what %s holds now %w", f.Cert, err)
		}
	}
	return c, sum, err
}

func (p pair) sum() [sha256.Size]byte {
	h := sha256.New()
	fmt.Fprintf(h, "%d:", len(p.cert))
	h.Write(p.cert)
	h.Write(p.key)
	return [sha256.Size]byte(h.Sum(nil))
}
