package redis

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// script is one operation. The server knows it by its hash, once it was sent whole:
// a server that was started anew, or took over, is sent it again.
type script struct{ source, hash string }

func newScript(parts ...string) *script {
	source := strings.Join(parts, "")
	hash := sha1.Sum([]byte(source))
	return &script{source, hex.EncodeToString(hash[:])}
}

const (
	// movingMost is how long a call waits for a slot that moves to another server of
	// the cluster: longer is an outage.
	movingMost  = 500 * time.Millisecond
	movingAgain = 10 * time.Millisecond
)

// run sends a call, again only where the server says that it has done nothing and
// that another try may succeed at once. Whether a call was carried out whose answer
// is missing, nobody knows; so that is for the caller, who says Again.
func (s *script) run(ctx context.Context, c redis.UniversalClient, keys []string, args []any) *redis.Cmd {
	r := s.send(ctx, c, keys, args)
	if redis.IsReadOnlyError(r.Err()) {
		// No master any more: the client has given up the connection and asks anew who is.
		r = s.send(ctx, c, keys, args)
	}
	for until := time.Now().Add(movingMost); redis.IsTryAgainError(r.Err()) && time.Now().Before(until); {
		select {
		case <-ctx.Done():
			return r
		case <-time.After(movingAgain + rand.N(movingAgain)):
		}
		r = s.send(ctx, c, keys, args)
	}
	lookAgain(ctx, c, r.Err())
	return r
}

// lookAgain has a cluster's client see who has which slot where a call was not answered:
// another server may have it by now, and the client would look once a minute.
func lookAgain(ctx context.Context, c redis.UniversalClient, err error) {
	if cluster, ok := c.(*redis.ClusterClient); ok && isUnanswered(err) {
		cluster.ReloadState(ctx)
	}
}

// isUnanswered tells whether no server said anything.
func isUnanswered(err error) bool {
	var said redis.Error
	return err != nil && !errors.As(err, &said)
}

func (s *script) send(ctx context.Context, c redis.UniversalClient, keys []string, args []any) *redis.Cmd {
	r := send(ctx, c, "evalsha", s.hash, keys, args)
	if redis.HasErrorPrefix(r.Err(), "NOSCRIPT") {
		r = send(ctx, c, "eval", s.source, keys, args)
	}
	return r
}

func send(ctx context.Context, c redis.UniversalClient, name, what string, keys []string, args []any) *redis.Cmd {
	list := make([]any, 0, 3+len(keys)+len(args))
	list = append(list, name, what, len(keys))
	for _, k := range keys {
		list = append(list, k)
	}
	cmd := once{redis.NewCmd(ctx, append(list, args...)...)}
	cmd.SetFirstKeyPos(3)
	_ = c.Process(ctx, cmd) // cmd keeps it
	return cmd.Cmd
}

// once is a command that the client does not repeat: that of a cluster would, also
// when only the answer was lost.
type once struct{ *redis.Cmd }

func (once) NoRetry() bool { return true }
