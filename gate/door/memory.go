package door

const (
	// connMemory is what a visitor's connection takes in use, beside the buffer for its
	// header: stack, buffer for an answer, and what the server keeps of it; tlsMemory is
	// more for TLS. Measured with ten thousand that poll.
	connMemory = 32 << 10
	tlsMemory  = 32 << 10
	// ownMemory is the gate's own, with nobody there.
	ownMemory = 32 << 20
	// fewestConns is how many there may be whatever the memory.
	fewestConns = 256
)

// MemoryConns is how many visitors' connections fit into so many bytes of memory, with
// a header of so many. A quarter is left for garbage and for what goes by: a heap that
// fills its limit is collected all the time.
func MemoryConns(limit, header int64, tls bool) int {
	each := header + connMemory
	if tls {
		each += tlsMemory
	}
	return int(max((limit/4*3-ownMemory)/each, fewestConns))
}
