//go:build !unix

package gate

// alive cannot be told here.
func (x *exchange) alive() bool { return true }
