package proxy

import (
	"errors"
	"net"
	"os"
	"syscall"

	"github.com/sluicegate/sluice/gate/origin"
)

// What Forward answers. All but ErrRequest, ErrExpectation, ErrTooLarge and ErrClientBody are
// the origin's doing. Forward has put nothing into the response when it
// returns one of them.
var (
	// ErrRequest: the request is ambiguous or malformed: 400, then close.
	ErrRequest = errors.New("proxy: malformed request")
	// ErrExpectation: the request expects what nobody here knows: 417, then close.
	ErrExpectation = errors.New("proxy: unknown expectation")
	// ErrTooLarge: the body is above Request.MaxBody: 413, then close.
	ErrTooLarge = errors.New("proxy: request body too large")
	// ErrClientBody: the body was malformed, too slow or cut off. The origin
	// saw a broken connection, never an end. 400, then close.
	ErrClientBody = errors.New("proxy: request body broken")
	// ErrSlow goes with ErrClientBody, and then it is 408, or with ErrClient: the
	// visitor sent or took a body slower than Config allows.
	ErrSlow = errors.New("proxy: visitor too slow")
	// ErrBusy: all connections or tunnels are in use: 503.
	ErrBusy = origin.ErrBusy
	// ErrTunnels: no more WebSockets at once: 503.
	ErrTunnels = errors.New("proxy: as many tunnels as there may be")
	// ErrConnect: no connection could be made; nothing was sent: 502.
	ErrConnect = origin.ErrConnect
	// ErrTimeout: the origin did not answer in time: 504.
	ErrTimeout = errors.New("proxy: origin timed out")
	// ErrBroken: the origin died before its header was whole, or sent nonsense: 502.
	ErrBroken = errors.New("proxy: origin broke off")
	// ErrUnreadable goes with ErrBroken: an answer came, and it was nonsense. That
	// speaks of the page rather than of the server, which is not blamed.
	ErrUnreadable = errors.New("the origin's answer cannot be read")
	// ErrClient: the visitor went away, or stopped reading in mid-answer: nothing,
	// then close. Config.Failed sees it, too.
	ErrClient = errors.New("proxy: visitor went away")
)

// Kinds are all that Kind returns, for metrics that are resolved at start.
var Kinds = []string{"request", "expectation", "too_large", "client_body", "busy", "tunnels", "connect", "timeout", "broken", "client", "other"}

// Kind names err by one of Kinds, "" for nil.
func Kind(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, ErrClientBody): // whatever was wrong with it
		return "client_body"
	case errors.Is(err, ErrRequest):
		return "request"
	case errors.Is(err, ErrExpectation):
		return "expectation"
	case errors.Is(err, ErrTooLarge):
		return "too_large"
	case errors.Is(err, ErrBusy):
		return "busy"
	case errors.Is(err, ErrTunnels):
		return "tunnels"
	case errors.Is(err, ErrConnect):
		return "connect"
	case errors.Is(err, ErrTimeout):
		return "timeout"
	case errors.Is(err, ErrBroken):
		return "broken"
	case errors.Is(err, ErrClient):
		return "client"
	}
	return "other"
}

func isTimeout(err error) bool {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.ETIMEDOUT) {
		return true
	}
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
