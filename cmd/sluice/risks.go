package main

import (
	"context"
	"time"

	"github.com/sluicegate/sluice/queue/redis"
)

const (
	riskTimeout = 5 * time.Second
	riskAgain   = 5 * time.Second // after servers that did not answer
)

// tellRisks writes, once, how the servers of the store are set up to lose what they
// are told. It waits for those that do not answer until ctx ends.
func (p *process) tellRisks(ctx context.Context) {
	store, ok := p.store.(*redis.Store)
	if !ok {
		return
	}
	told := make(map[string]bool)
	for ctx.Err() == nil {
		asked, cancel := context.WithTimeout(ctx, riskTimeout)
		risks, err := store.Risks(asked)
		cancel()
		for _, r := range risks {
			if told[r.Risk] {
				continue
			}
			told[r.Risk] = true
			if r.Unknown {
				p.log.Info("nobody knows whether the store is set up to keep what it is told", "why", r.Risk, "hint", r.Hint, "servers", r.Servers)
				continue
			}
			p.log.Warn("the settings of the store put the line at risk", "risk", r.Risk, "hint", r.Hint, "servers", r.Servers)
		}
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(riskAgain):
		}
	}
}
