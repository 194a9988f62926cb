package main

import (
	"strings"
	"testing"
	"time"
)

func TestAClockIsWrongByAsMuchAsItIsToldTo(t *testing.T) {
	t.Setenv(clockVariable, "-1h")
	now, err := clock()
	if err != nil {
		t.Fatal(err)
	}
	if by := time.Until(now()).Round(time.Minute); by != -time.Hour {
		t.Errorf("it is wrong by %v", by)
	}
	t.Setenv(clockVariable, "")
	if now, err := clock(); now != nil || err != nil {
		t.Errorf("without being told to: %v", err)
	}
	t.Setenv(clockVariable, "late")
	if _, err := clock(); err == nil || !strings.Contains(err.Error(), "SLUICE_WRONG_CLOCK=late: want a time") {
		t.Errorf("got %v", err)
	}
}
