// Package queue is the line: who waits, who is called, who is inside.
package queue
