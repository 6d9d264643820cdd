package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A job is a set that a tool moves from one registry to another.
type job struct {
	set      imageSet
	tool     string
	src, dst string // host:port
	dir      string // for the tool's files; its home
}

// programs are the binaries of the tools.
//
//	:: tool → program
var programs = map[string]string{
	skopeoSync: "skopeo", craneCopy: "crane", craneTuned: "crane",
	regsync4: "regsync", regsync16: "regsync", regctlCopy: "regctl",
	skopeoArchive: "skopeo", craneLayout: "crane", relocateAgain: entrepot,
}

// commands returns what has to be run, and how many of it at once. Images are
// called at the target as at the source.
func (j job) commands(bin map[string]string) (lines [][]string, atOnce int, err error) {
	program := bin[programs[j.tool]]
	switch j.tool {
	case entrepot, before:
		list, err := j.list()
		return [][]string{{bin[j.tool], "relocate", list, "--kind", "images", "--to", j.dst, "--naming", "path",
			"--rules", "none", "--no-referrers", "--quiet"}}, 1, err
	case skopeoSync:
		conf, err := j.skopeo()
		return [][]string{{program, "sync", "--all", "--scoped=false", "--src", "yaml", "--dest", "docker",
			"--dest-tls-verify=false", conf, j.dst + "/" + j.set.name}}, 1, err
	case craneCopy, craneTuned:
		jobs, atOnce := "4", 1
		if j.tool == craneTuned {
			jobs, atOnce = "16", 8
		}
		for _, repo := range j.set.repos() {
			lines = append(lines, []string{program, "copy", "--insecure", "--all-tags", "--jobs", jobs, j.src + "/" + repo, j.dst + "/" + repo})
		}
		return lines, atOnce, nil
	case regctlCopy:
		hosts := []string{"--host", "reg=" + j.src + ",tls=disabled", "--host", "reg=" + j.dst + ",tls=disabled"}
		for _, img := range j.set.images {
			lines = append(lines, slices.Concat([]string{program}, hosts,
				[]string{"image", "copy", j.src + "/" + img.repo + ":" + img.tag, j.dst + "/" + img.repo + ":" + img.tag}))
		}
		return lines, 1, nil
	case regsync4, regsync16:
		conf, err := j.regsync(map[string]int{regsync4: 4, regsync16: 16}[j.tool])
		return [][]string{{program, "once", "--config", conf}}, 1, err
	}
	return nil, 0, fmt.Errorf("no tool %q", j.tool)
}

func (j job) write(name, text string) (string, error) {
	path := filepath.Join(j.dir, name)
	return path, os.WriteFile(path, []byte(text), 0o644)
}

// list is a line for each image.
func (j job) list() (string, error) {
	var b strings.Builder
	for _, img := range j.set.images {
		fmt.Fprintf(&b, "%s/%s:%s\n", j.src, img.repo, img.tag)
	}
	return j.write("images.txt", b.String())
}

// skopeo is the configuration of skopeo sync.
func (j job) skopeo() (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "%q:\n  tls-verify: false\n  images:\n", j.src)
	for _, repo := range j.set.repos() {
		fmt.Fprintf(&b, "    %s:\n", repo)
		for _, img := range j.set.images {
			if img.repo == repo {
				fmt.Fprintf(&b, "      - %q\n", img.tag)
			}
		}
	}
	return j.write("skopeo.yaml", b.String())
}

// regsync is the configuration of regsync.
func (j job) regsync(parallel int) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\ncreds:\n")
	for _, host := range []string{j.src, j.dst} {
		fmt.Fprintf(&b, "  - registry: %q\n    tls: disabled\n    reqConcurrent: %d\n", host, parallel*3)
	}
	fmt.Fprintf(&b, "defaults:\n  parallel: %d\nsync:\n", parallel)
	for _, repo := range j.set.repos() {
		fmt.Fprintf(&b, "  - source: %s/%s\n    target: %s/%s\n    type: repository\n", j.src, repo, j.dst, repo)
	}
	return j.write("regsync.yaml", b.String())
}
