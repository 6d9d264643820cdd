// Package edge is what stands between clients' connections and the registry's
// handler: certificates that follow their files, and limits that keep slow and
// numerous clients from taking the server away from everybody else.
//
//	pair, err := edge.LoadCertificate("tls.crt", "tls.key")
//	srv := &http.Server{Handler: h, TLSConfig: &tls.Config{GetCertificate: pair.Get}}
package edge
