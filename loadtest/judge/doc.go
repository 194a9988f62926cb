// Package judge holds a waiting room to its promises from outside, by nothing but
// what visitors saw.
//
// Visitors write what happens to them into a Log, one for each process. A Judge
// reads the logs of all processes and says what was kept and what was not:
//
//	overtaken            people told to wait at a poll that they sent after somebody
//	                     who came later had already been let in
//	overshoot            most calls in any window beyond rate * window + burst
//	inside               most people who were surely inside at one time
//	places lost          people whose position grew although not that many came back,
//	                     who were given another place, who were told that they have
//	                     none, or who were asked to wait again while inside
//	double admissions    tickets let in twice as two sessions, or after they left
//	estimates            the first estimate told, against the wait that came
//	not admitted         people who stayed to the end and were not let in
//
// # In doubt for the accused
//
// Requests take time, so what the gate did lies somewhere between sending and
// answer. A judge counts only what holds wherever in between it happened: somebody
// came later when they sent their first request a grace after the other had the
// answer to theirs; they were let in before a poll when they had the answer before
// the poll was sent; they are inside from the answer that let them in to the
// moment when they began to leave.
//
// People who polled later than they were asked to, plus half of that and three
// seconds, were absent and may be passed over meanwhile. They are owed something
// only by calls made after they were back.
package judge
