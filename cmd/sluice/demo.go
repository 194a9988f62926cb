package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluicegate/sluice/cmd/sluice/crowd"
	"github.com/sluicegate/sluice/cmd/sluice/shop"
	"github.com/sluicegate/sluice/gate/config"
)

// The demonstration's room: small enough that a line forms in seconds and moves
// before one's eyes.
const demoConfig = `
store: memory
origin: {header_timeout: 10s}
log: {level: warn, format: text}
shutdown: {delay: 0s, timeout: 3s}
rooms:
  - name: drop
    match: [{path: /drop}]
    rate: 2/s
    burst: 4
    max_active: 50
    session: 45s
    claim_within: 15s
    keep_place: 5m
    poll: {min: 1s, max: 10s}
    message: "Six lamps, numbered by hand. One a person, please."
`

func newDemoCommand() *cobra.Command {
	var listen, adminAddr string
	var quiet bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "A shop, a gate and a crowd in one process, to watch",
		Long: `A shop, a gate and a crowd in one process: nothing to install, nothing kept.
It prints the address to open and what to try.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDemo(cmd.Context(), cmd.OutOrStdout(), listen, adminAddr, quiet)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:8080", "`ADDR` for visitors; another port is taken when it is in use")
	cmd.Flags().StringVar(&adminAddr, "admin", defaultAdmin, "`ADDR` for operators, likewise")
	cmd.Flags().BoolVar(&quiet, "no-crowd", false, "leave out the crowd")
	return cmd
}

func runDemo(ctx context.Context, out io.Writer, listen, adminAddr string, noCrowd bool) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	sales := shop.New(shop.Config{Think: 40 * time.Millisecond, Capacity: 8})
	shopListener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for the shop: %w", err)
	}
	shopServer := &http.Server{Handler: sales, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = shopServer.Serve(shopListener) }()
	defer shopServer.Close()

	listen, adminAddr = freeAddress(listen), freeAddress(adminAddr)
	c, err := config.Load(config.Source{File: "demo", Data: []byte(demoConfig), Flags: map[string]string{
		"listen": listen, "admin": adminAddr, "origin": "http://" + shopListener.Addr().String(),
	}})
	if err != nil {
		return exitError{exitUsage, err}
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	p, err := newProcess(c, log, nil)
	if err != nil {
		return err
	}
	base, err := adminURL(p.visitors[0].Addr().String()) // one that listens everywhere is opened here
	if err != nil {
		return err
	}
	sayHello(out, base, p.operators.Addr().String(), noCrowd)

	var wg sync.WaitGroup
	people := crowd.New(crowd.Config{Gate: base, Room: "drop", Path: "/drop", Seed: uint64(time.Now().UnixNano()), Log: log})
	if !noCrowd {
		wg.Go(func() { _ = people.Run(ctx) })
	}
	wg.Go(func() { watch(ctx, out, p, sales) })
	err = p.run(ctx)
	stop()
	wg.Wait()
	fmt.Fprintln(out)
	return err
}

// freeAddress returns the address, or one with a free port when it is in use.
func freeAddress(address string) string {
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		if host, _, e := net.SplitHostPort(address); e == nil {
			if l, err = net.Listen("tcp", net.JoinHostPort(host, "0")); err == nil {
				address = l.Addr().String()
			}
		}
	}
	if err == nil {
		l.Close()
	}
	return address
}

func sayHello(out io.Writer, base, admin string, noCrowd bool) {
	flag := ""
	if admin != defaultAdmin {
		flag = " --admin " + admin
	}
	crowdLine := "A crowd is arriving: about 120 people in the first seconds, then more in waves."
	if noCrowd {
		crowdLine = "There is no crowd: open the shop in several browsers."
	}
	fmt.Fprintf(out, `
  Sluice demo: a shop that sells six lamps, and a gate in front of its sale.
  %s

  Open           %s/drop      the sale: wait for your turn
                 %s/office    the shop's back office: see how calm it stays
                 %s/          the shop window, which has no line

  Try, in a second terminal:
                 sluice top%s
                 sluice room show drop%s
                 sluice room set drop rate=8/s%s
                 sluice room set drop mode=hold message="Back in five minutes"%s
                 sluice room reset drop%s
  and in the browser: reload, open a second tab, turn the network off and on.

  Ctrl-C ends it.

`, crowdLine, base, base, base, flag, flag, flag, flag, flag)
}

// watch shows how the line and the shop are doing, in one line that is written
// over on a terminal and now and then elsewhere.
func watch(ctx context.Context, out io.Writer, p *process, sales *shop.Shop) {
	terminal := isTerminal(out)
	every := 10 * time.Second
	if terminal {
		every = 500 * time.Millisecond
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		room, _ := p.gate.Room("drop")
		live := sales.Live()
		inside := room.Snapshot.Called + room.Snapshot.Active
		line := fmt.Sprintf("  in line %4d %s  inside %3d  let in at %s  shop: %3.0f requests/s, slowest %3.0f ms, %d lamps left",
			room.Snapshot.Waiting, bar(room.Snapshot.Waiting, 150, 20), inside, room.Settings.Rate,
			float64(live.Requests), live.SlowestMS(), live.Stock)
		if terminal {
			fmt.Fprintf(out, "\r\x1b[K%s", line)
		} else {
			fmt.Fprintln(out, line)
		}
	}
}

// bar draws n of most as a bar.
func bar(n, most int64, width int) string {
	filled := int(min(n, most) * int64(width) / most)
	return strings.Repeat("#", filled) + strings.Repeat(".", width-filled)
}

func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
