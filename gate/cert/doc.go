// Package cert is TLS towards visitors: certificates from files, which are read
// again when they change, or got from a certificate authority by ACME; which of them
// a visitor is shown; and the handshake.
//
// Whatever goes wrong with a certificate later, the one in use stays in use: files
// that cannot be used, or an authority that does not answer, are logged with the
// reason, and looked at again.
package cert
