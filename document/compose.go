package document

import (
	"strings"

	"github.com/entrepot/entrepot/internal/tree"
)

// composeFields are the fields of a service, as the Compose specification has
// them (schema/compose-spec.json).
const composeFields = `annotations attach blkio_config build cap_add cap_drop cgroup cgroup_parent command configs
container_name cpu_count cpu_percent cpu_period cpu_quota cpu_rt_period cpu_rt_runtime cpu_shares cpus cpuset
credential_spec depends_on deploy develop device_cgroup_rules devices dns dns_opt dns_search domainname entrypoint
env_file environment expose extends external_links extra_hosts gpus group_add healthcheck hostname image init ipc
isolation label_file labels links logging mac_address mem_limit mem_reservation mem_swappiness memswap_limit models
network_mode networks oom_kill_disable oom_score_adj pid pids_limit platform ports post_start pre_stop privileged
profiles provider pull_policy pull_refresh_after read_only restart runtime scale secrets security_opt shm_size
stdin_open stop_grace_period stop_signal storage_opt sysctls tmpfs tty ulimits use_api_socket user userns_mode uts
volume_driver volumes volumes_from working_dir`

func isCompose(r *reading) bool {
	return len(r.docs) == 1 && !r.docs[0].Has("apiVersion") && composeServices(r.docs[0])
}

// composeServices reports whether a table has services with an image or a way to
// build one.
func composeServices(n *tree.Node) bool {
	m := n.Find("services")
	if m == nil || m.Value.Kind != tree.Table {
		return false
	}
	for _, s := range m.Value.Keys {
		if s.Value.Has("image") || s.Value.Has("build") || s.Value.Has("extends") {
			return true
		}
	}
	return false
}

// readCompose reads a Compose file (https://compose-spec.io).
func readCompose(r *reading) error {
	if r.syntax != nil {
		return r.refuse(r.main, r.syntax)
	}
	if len(r.docs) != 1 || r.docs[0].Kind != tree.Table {
		return &Error{At: Position{File: r.in.Name}, Text: "a Compose file is one table"}
	}
	root := r.root(r.addFile(r.main), r.docs[0])
	root.onlyOrExtension("version", "name", "include", "services", "models", "networks", "volumes", "secrets", "configs")
	if inc := root.member("include"); inc.n != nil {
		r.note(inc.f, inc.n.Start, inc.path, "name the files as inputs of their own", "other files are included, and not read")
	}
	for _, s := range root.member("services").members() {
		s.service()
	}
	if m := root.member("models"); m.n != nil {
		r.note(m.f, m.n.Start, m.path, "", "models are artifacts, and left out")
	}
	return nil
}

// onlyOrExtension is only, and lets the fields pass that begin with "x-".
func (s spot) onlyOrExtension(known ...string) {
	if s.n.Kind != tree.Table {
		return
	}
	for i := range s.n.Keys {
		if name := s.n.Keys[i].Name; strings.HasPrefix(name, "x-") {
			known = append(known, name)
		}
	}
	s.only(known...)
}

// service reads a service. The image of one that is built is what its result is
// called, and nothing to be fetched.
func (s spot) service() {
	if s.n.Kind != tree.Table {
		s.fail("", "this is %v and should be a service", s.n.Kind)
		return
	}
	s.onlyOrExtension(strings.Fields(composeFields)...)
	build := s.member("build")
	if build.n == nil {
		s.member("image").composeImage("")
	} else {
		s.r.note(build.f, build.n.Start, build.path, "name its Dockerfile as an input", "the image is built, and what it is built from is not read")
		for _, c := range build.member("additional_contexts").contexts() {
			if strings.HasPrefix(c.n.Text, "docker-image://") {
				c.composeImage("docker-image://")
			}
		}
	}
	for _, v := range s.member("volumes").items() {
		if v.str("type") == "image" {
			v.member("source").composeImage("")
		}
	}
}

// contexts returns the values of a table, or nothing for a list: its items hold
// their names, too.
func (s spot) contexts() []spot { return s.tableMembers() }

// composeImage adds the image that a string names, with its variables at their
// defaults; before is what stands before it.
func (s spot) composeImage(before string) {
	if s.n == nil {
		return
	}
	if s.n.Kind != tree.String {
		s.fail("", "this is %v and should be an image", s.n.Kind)
		return
	}
	text, err := expand(strings.TrimPrefix(strings.TrimRight(s.n.Text, "\n"), before), '$', func(string) (string, bool) { return "", false })
	if err == nil && text != "" {
		err = checkRef(text)
	}
	if err != nil {
		s.r.errs = append(s.r.errs, &Error{At: s.f.at(s.n.Start), Field: s.path, Text: "this is no image", Err: err, Hint: composeHint(s.n.Text)})
		return
	}
	if text == "" {
		return
	}
	p := part{role: wholeRef, f: s.f, n: s.n, before: before}
	if before == "" {
		p.before, p.after = aroundDefault(s.n.Text, text)
	}
	s.r.add(text, s.path, p)
}

func composeHint(text string) string {
	if strings.Contains(text, "$") {
		return "give the variable a default, as in ${NAME:-value}, or read the output of `docker compose config`"
	}
	return ""
}
