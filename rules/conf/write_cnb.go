package conf

// cnbLimits are those of CNB_REGISTRY_MIRRORS.
func cnbLimits() limits {
	return limits{paths: pathsNamespace, ending: endsWarned, ns: nsNever, reach: exact(plainHTTP), reachOwn: exact(), certs: certsNone}
}

// writeCNB writes the value of the variable, in one line. A registry is
// repeated for each of its mirrors.
func writeCNB(w *writing) []File {
	var t text
	for _, r := range w.routes {
		for _, p := range r.mirrors() {
			if t.Len() > 0 {
				t.WriteByte(';')
			}
			t.WriteString(r.match.Host + "=")
			if p.reach == plainHTTP {
				t.WriteString("http://")
			}
			t.WriteString(p.name())
		}
	}
	if t.Len() > 0 {
		t.WriteByte('\n')
	}
	return []File{t.file(cnbVariable)}
}
