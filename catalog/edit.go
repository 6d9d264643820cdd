package catalog

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// A member is one of an object's in JSON.
type member struct {
	key   string
	value json.RawMessage
}

// members returns those of an object in JSON, in their order.
func members(text []byte) ([]member, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	var all []member
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		m := member{key: key.(string)} // of an object nothing else is a key
		if err := dec.Decode(&m.value); err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

// printObject returns an object in JSON, a member a line.
func printObject(all []member) ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range all {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := json.Marshal(m.key)
		if err != nil {
			return nil, err
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(m.value)
	}
	b.WriteByte('}')
	var out bytes.Buffer
	err := json.Indent(&out, b.Bytes(), "", "    ")
	return out.Bytes(), err
}

// edited returns an object with another value at a key. All others stay what they
// are; a key is found as Go and opm find it, whatever its case.
func (o *object) edited(key string, value json.RawMessage) (*object, error) {
	all, err := members(o.json)
	if err != nil {
		return nil, err
	}
	found := false
	for i := range all {
		if strings.EqualFold(all[i].key, key) {
			all[i].value, found = value, true
		}
	}
	if !found {
		all = append(all, member{key, value})
	}
	text, err := printObject(all)
	return &object{raw: text, json: text, at: o.at}, err
}

// with returns an object with a text at a key.
func (o *object) with(key, value string) (*object, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	return o.edited(key, text)
}

// keepEntries returns an object with those of its entries that are kept: itself where
// that is all of them, nil where it is none.
func keepEntries[E any](o *object, keep func(E) bool) (*object, error) {
	var v struct {
		Entries []json.RawMessage `json:"entries"`
	}
	if err := decode(o, &v); err != nil {
		return nil, err
	}
	var kept [][]byte
	for _, raw := range v.Entries {
		var e E
		if err := json.Unmarshal(raw, &e); err != nil {
			return nil, err
		}
		if keep(e) {
			kept = append(kept, raw)
		}
	}
	switch len(kept) {
	case len(v.Entries):
		return o, nil
	case 0:
		return nil, nil
	}
	return o.edited("entries", slices.Concat([]byte("["), bytes.Join(kept, []byte(",")), []byte("]")))
}
