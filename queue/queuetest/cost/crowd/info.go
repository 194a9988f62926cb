package crowd

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// CPU are the fields of INFO cpu whose sum is the processor time of a server.
var CPU = []string{"used_cpu_user", "used_cpu_sys"}

// Info returns the sum of numbers in a section of a server's INFO.
func Info(ctx context.Context, client *redis.Client, section string, names ...string) (sum float64, err error) {
	text, err := client.Info(ctx, section).Result()
	if err != nil {
		return 0, err
	}
	for _, want := range names {
		found := false
		for line := range strings.Lines(text) {
			value, ok := strings.CutPrefix(strings.TrimSpace(line), want+":")
			if !ok {
				continue
			}
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return 0, fmt.Errorf("%s in INFO %s: %w", want, section, err)
			}
			sum, found = sum+n, true
		}
		if !found {
			return 0, fmt.Errorf("no %s in INFO %s", want, section)
		}
	}
	return sum, nil
}
