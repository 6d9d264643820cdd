package conf

import (
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/entrepot/entrepot/ref"
	"github.com/entrepot/entrepot/rules"
)

// kanikoSwitches are the flags that are true or false, kanikoOthers those with
// a value (cmd/executor/cmd, addKanikoOptionsFlags). Another one ends kaniko.
var (
	kanikoSwitches = []string{
		"cache", "cache-copy-layers", "cache-run-layers", "cleanup", "compressed-caching", "force", "force-build-metadata", "help",
		"ignore-var-run", "insecure", "insecure-pull", "log-timestamp", "no-push", "no-push-cache", "push-ignore-immutable-tag-errors",
		"reproducible", "single-snapshot", "skip-default-registry-fallback", "skip-push-permission-check", "skip-tls-verify",
		"skip-tls-verify-pull", "skip-unused-stages", "use-new-run", "whitelist-var-run",
	}
	kanikoOthers = []string{
		"azure-container-registry-config", "bucket", "build-arg", "cache-dir", "cache-repo", "cache-ttl", "compression", "compression-level",
		"context", "context-sub-path", "custom-platform", "customPlatform", "destination", "digest-file", "dockerfile", "git", "ignore-path",
		"image-download-retry", "image-fs-extract-retry", "image-name-tag-with-digest-file", "image-name-with-digest-file",
		"insecure-registry", "kaniko-dir", "label", "log-format", "oci-layout-path", "push-retry", "registry-certificate",
		"registry-client-cert", "registry-map", "registry-mirror", "skip-tls-verify-registry", "snapshot-mode", "snapshotMode",
		"tar-path", "tarPath", "target", "verbosity",
	}
)

// flags reads the lines: --flag=value, or --flag with the value behind a space
// or on the next line. Blank lines and those that begin with # are left out.
func (k *kaniko) flags(f *file) {
	lines := newLineIndex(f.data)
	waiting := "" // the flag whose value is on the next line
	var at pos
	for i, line := range strings.Split(string(f.data), "\n") {
		text := strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(line), "\\"))
		if text == "" || text[0] == '#' {
			continue
		}
		here := lines.at(lines.Lines[i] + strings.Index(line, text))
		text = unquoted(text)
		switch {
		case waiting != "":
			k.set(waiting, kanikoValue{text, f, here})
			waiting = ""
		case text == "--":
			return
		case strings.HasPrefix(text, "--"):
			waiting, at = k.flag(f, text, here), here
		case strings.HasPrefix(text, "-"):
			if len(text) == 2 && text != "-h" {
				waiting, at = text, here
			}
		default:
			k.warn(f, here, "flags begin with --", "%q is no flag, and kaniko ignores it", redactPair(text))
		}
	}
	if waiting != "" {
		k.refuse(k.problem(f, at, "write "+waiting+"=VALUE", "the flag %s needs a value", waiting))
	}
}

// flag reads one flag. It returns its name where the value is still to come.
func (k *kaniko) flag(f *file, text string, at pos) (waiting string) {
	name, value, given, start := text[2:], "", false, at
	if i := strings.IndexAny(name, "= \t"); i >= 0 {
		rest := name[i+1:]
		value, given = strings.TrimLeft(rest, " \t"), true
		at.column += 3 + i + len(rest) - len(value)
		name, value = name[:i], unquoted(value)
	}
	if strings.Contains(value, " --") {
		k.warn(f, at, "write one flag a line", "the value of --%s holds what looks like another flag", name)
	}
	switch {
	case slices.Contains(kanikoSwitches, name):
		if !given {
			value = "true"
		}
	case !slices.Contains(kanikoOthers, name):
		known := &node{asked: []string{"registry-map", "registry-mirror", "insecure-registry", "skip-tls-verify-registry", "insecure-pull", "skip-default-registry-fallback"}}
		k.refuse(k.problem(f, start, known.suggest(name), "unknown flag --%s", name))
		return ""
	case !given:
		return "--" + name
	}
	k.set("--"+name, kanikoValue{value, f, at})
	return ""
}

// unquoted drops quotes around a whole argument, or around a value.
func unquoted(s string) string {
	if len(s) >= 2 && (s[0] == '\'' || s[0] == '"') && s[len(s)-1] == s[0] {
		return s[1 : len(s)-1]
	}
	return s
}

// set takes the value of a flag.
func (k *kaniko) set(flag string, v kanikoValue) {
	switch flag {
	case "--registry-map":
		pairs, wrong := k.pairs(v)
		k.maps = append(k.maps, pairs...)
		if wrong != nil {
			k.refuse(k.problem(v.f, wrong.at, "the form is registry=mirror;registry=mirror", "%q has no '='", redactPair(wrong.text)))
		}
	case "--registry-mirror":
		k.mirrors = append(k.mirrors, v)
	case "--insecure-registry":
		k.insecure = append(k.insecure, v)
	case "--skip-tls-verify-registry":
		k.unverified = append(k.unverified, v)
	case "--registry-certificate":
		k.ca = k.keyed(k.ca, v)
	case "--registry-client-cert":
		k.client = k.keyed(k.client, v)
	default:
		if slices.Contains(kanikoSwitches, strings.TrimPrefix(flag, "--")) {
			k.turn(flag, v)
		}
	}
}

// keyed adds registry=value to a list; the last of a registry counts
// (keyValueArg).
func (k *kaniko) keyed(list []kanikoPair, v kanikoValue) []kanikoPair {
	key, value, ok := strings.Cut(v.text, "=")
	if !ok {
		k.refuse(k.problem(v.f, v.at, "the form is registry=file", "%q has no '='", v.text))
		return list
	}
	list = slices.DeleteFunc(list, func(p kanikoPair) bool { return p.key == key })
	return append(list, kanikoPair{key, kanikoValue{value, v.f, v.at}})
}

// turn sets a flag that is true or false.
func (k *kaniko) turn(flag string, v kanikoValue) {
	on, err := strconv.ParseBool(v.text)
	if err != nil {
		k.refuse(k.problem(v.f, v.at, "write true or false", "%q is no value for %s", v.text, flag))
		return
	}
	var set *kanikoValue
	if on {
		set = &kanikoValue{flag, v.f, v.at}
	}
	switch flag {
	case "--skip-default-registry-fallback":
		k.noFallback = set
	case "--insecure-pull":
		k.insecurePull = set
	case "--skip-tls-verify":
		if on {
			k.warn(v.f, v.at, "use --skip-tls-verify-registry", "--skip-tls-verify is meant for pushing, and kaniko applies it to every pull, too")
		}
		if !k.d.Strict() {
			k.skipVerify = set
		}
	case "--skip-tls-verify-pull":
		if on {
			k.silent(v.f, v.at, "use --skip-tls-verify-registry", "--skip-tls-verify-pull has no effect: kaniko never looks at it")
		}
		if k.d.Strict() {
			k.skipVerify = set
		}
	}
}

// hosts fills in what flags say about single registries.
func (k *kaniko) hosts() {
	for _, v := range k.insecure {
		k.host(v.text, v, func(h *rules.HostSettings) { h.Scheme = rules.HTTPSThenHTTP })
	}
	for _, v := range k.unverified {
		k.host(v.text, v, func(h *rules.HostSettings) { transportOf(h).SkipVerify = true })
	}
	for _, p := range k.ca {
		k.host(p.key, p.kanikoValue, func(h *rules.HostSettings) {
			if tr := transportOf(h); !tr.SkipVerify && p.text != "" {
				tr.CA = []string{p.text}
				k.present(p.kanikoValue, p.text)
			}
		})
	}
	for _, p := range k.client {
		k.host(p.key, p.kanikoValue, func(h *rules.HostSettings) {
			pairs := keyPairs(p.text)
			if len(pairs) == 0 && p.text != "" {
				wrong := k.problem(p.f, p.at, "write "+p.key+"=/path/to/cert,/path/to/key", "a certificate and a key are needed, separated by a comma")
				h.Fails = &wrong
				k.note(wrong)
				return
			}
			transportOf(h).Client = pairs
			for _, pair := range pairs {
				k.present(p.kanikoValue, pair.Cert)
				k.present(p.kanikoValue, pair.Key)
			}
		})
	}
}

// host changes the settings of a registry.
func (k *kaniko) host(name string, v kanikoValue, change func(*rules.HostSettings)) {
	switch {
	case k.d.Strict():
		name = canonicalHub(name)
	case name == ref.DockerHub:
		k.silent(v.f, v.at, "write index.docker.io", "docker.io never matches: kaniko calls Docker Hub index.docker.io")
		return
	}
	if !ref.ValidHost(name) {
		k.silent(v.f, v.at, "write the registry alone, without scheme or path", "%q never matches: it is no registry", redactPair(name))
		return
	}
	if k.cfg.Hosts == nil {
		k.cfg.Hosts = map[string]rules.HostSettings{}
	}
	h, ok := k.cfg.Hosts[name]
	if !ok {
		h.Origin = k.at(v.f, v.at)
	}
	change(&h)
	k.cfg.Hosts[name] = h
}

func transportOf(h *rules.HostSettings) *rules.Transport {
	if h.Transport == nil {
		h.Transport = new(rules.Transport)
	}
	return h.Transport
}

// keyPairs splits "cert,key"; nil where it is not two.
func keyPairs(text string) []rules.KeyPair {
	cert, key, ok := strings.Cut(text, ",")
	if !ok || strings.Contains(key, ",") {
		return nil
	}
	return []rules.KeyPair{{Cert: cert, Key: key}}
}

// present warns where a file is not on this machine. kaniko runs in a container,
// so that this is no error here, but it ends kaniko.
func (k *kaniko) present(v kanikoValue, name string) {
	if k.src.FS == nil || k.src.Elsewhere {
		return
	}
	if _, err := fs.Stat(k.src.FS, fsPath(name)); err != nil {
		k.warn(v.f, v.at, "kaniko ends where it cannot read it", "%s", fmt.Sprintf("%s is not on this machine", name))
	}
}
