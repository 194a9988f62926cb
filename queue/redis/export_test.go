package redis

// OpenWith is Open with a clock of the test's own.
var OpenWith = open
