package imageset

import (
	"regexp"

	"go.yaml.in/yaml/v4"

	"github.com/entrepot/entrepot/relocate"
)

// Versions that have a field, where it is not both.
var (
	only1 = []Version{V1Alpha2}
	only2 = []Version{V2Alpha1}
)

// mirror reads what the set is made of, at "mirror" or "delete".
func (r *reading) mirror(s spot) {
	c := r.cfg
	fields := []field{
		{name: "platform", read: r.platform},
		{name: "operators", read: func(m spot) { m.list(func(i spot) { c.Operators = append(c.Operators, i.operator()) }) }},
		{name: "additionalImages", read: func(m spot) { m.list(func(i spot) { c.Additional = append(c.Additional, i.additional()) }) }},
		{name: "helm", read: r.helm},
		{name: "samples", read: func(m spot) {
			if !m.isNull() && (m.n.Kind != yaml.SequenceNode || len(m.n.Content) > 0) {
				m.fail("name the images below additionalImages", "samples are not implemented, as in oc-mirror")
			}
		}},
	}
	if !c.Delete {
		fields = append(fields, field{name: "blockedImages", read: func(m spot) { m.list(r.blocked) }})
	}
	s.table(fields...)
}

func (r *reading) platform(s spot) {
	p := &r.cfg.Platform
	p.Place = s.place()
	s.table(
		field{name: "graph", read: func(m spot) { p.Graph, p.GraphAt = m.boolean(), m.place() }},
		field{name: "channels", read: func(m spot) { m.list(func(i spot) { p.Channels = append(p.Channels, i.channel()) }) }},
		field{name: "architectures", read: func(m spot) { m.list(func(i spot) { p.Architectures = append(p.Architectures, i.architecture()) }) }},
		field{name: "platforms", in: only2, read: func(m spot) { p.Platforms = m.platforms() }},
		field{name: "release", in: only2, read: func(m spot) { p.Release, p.ReleaseAt = m.image(false), m.place() }},
		field{name: "kubeVirtContainer", in: only2, read: func(m spot) { p.KubeVirt, p.KubeVirtAt = m.boolean(), m.place() }})
}

func (s spot) channel() Channel {
	c := Channel{Place: s.place()}
	s.table(
		field{name: "name", read: func(m spot) { c.Name = m.text() }},
		field{name: "type", read: func(m spot) { c.OKD = m.releaseType() }},
		field{name: "minVersion", read: func(m spot) { c.Min = m.version(true) }},
		field{name: "maxVersion", read: func(m spot) { c.Max = m.version(true) }},
		field{name: "shortestPath", read: func(m spot) { c.ShortestPath = m.boolean() }},
		field{name: "full", read: func(m spot) { c.Full = m.boolean() }})
	s.needs(c.Name, "name")
	return c
}

func (s spot) operator() Operator {
	o := Operator{Place: s.place()}
	s.table(
		field{name: "catalog", read: func(m spot) { o.Catalog = m.image(true) }},
		field{name: "targetCatalog", read: func(m spot) { o.TargetCatalog = m.repository() }},
		field{name: "targetName", in: only1, read: func(m spot) { o.TargetName = m.repository() }},
		field{name: "targetTag", read: func(m spot) { o.TargetTag = m.tag() }},
		field{name: "originalRef", in: only1, read: func(m spot) { o.OriginalRef = m.image(false) }},
		field{name: "targetCatalogSourceTemplate", in: only2, read: func(m spot) { o.Template, o.TemplateAt = m.text(), m.place() }},
		field{name: "full", read: func(m spot) { o.Full = m.boolean() }},
		field{name: "skipDependencies", read: func(m spot) { o.SkipDependencies = m.boolean() }},
		field{name: "platforms", in: only2, read: func(m spot) { o.Platforms = m.platforms() }},
		field{name: "packages", read: func(m spot) { m.list(func(i spot) { o.Packages = append(o.Packages, i.pkg()) }) }})
	s.needs(o.Catalog, "catalog")
	return o
}

// noBundle says that minBundle cannot be had.
func noBundle(m spot) {
	m.fail("use minVersion", "the start of a range by a bundle's name is not supported")
}

func (s spot) pkg() Package {
	p := Package{Place: s.place()}
	s.table(
		field{name: "name", read: func(m spot) { p.Name = m.text() }},
		field{name: "channels", read: func(m spot) { m.list(func(i spot) { p.Channels = append(p.Channels, i.packageChannel()) }) }},
		field{name: "defaultChannel", read: func(m spot) { p.DefaultChannel = m.text() }},
		field{name: "minVersion", read: func(m spot) { p.Min = m.version(false) }},
		field{name: "maxVersion", read: func(m spot) { p.Max = m.version(false) }},
		field{name: "minBundle", in: only1, read: noBundle})
	s.needs(p.Name, "name")
	return p
}

func (s spot) packageChannel() PackageChannel {
	c := PackageChannel{Place: s.place()}
	s.table(
		field{name: "name", read: func(m spot) { c.Name = m.text() }},
		field{name: "minVersion", read: func(m spot) { c.Min = m.version(false) }},
		field{name: "maxVersion", read: func(m spot) { c.Max = m.version(false) }},
		field{name: "minBundle", in: only1, read: noBundle})
	s.needs(c.Name, "name")
	return c
}

func (s spot) additional() Additional {
	a := Additional{Place: s.place()}
	s.table(
		field{name: "name", read: func(m spot) { a.Name, a.Place = m.image(true), m.place() }},
		field{name: "targetRepo", in: only2, read: func(m spot) { a.TargetRepo = m.repository() }},
		field{name: "targetTag", in: only2, read: func(m spot) { a.TargetTag = m.tag() }},
		field{name: "platforms", in: only2, read: func(m spot) { a.Platforms = m.platforms() }})
	s.needs(a.Name, "name")
	return a
}

func (r *reading) helm(s spot) {
	h := &r.cfg.Helm
	s.table(
		field{name: "repositories", read: func(m spot) { m.list(func(i spot) { h.Repositories = append(h.Repositories, i.repositoryOfCharts()) }) }},
		field{name: "local", read: func(m spot) { m.list(func(i spot) { h.Local = append(h.Local, i.chart(true)) }) }})
}

func (s spot) repositoryOfCharts() Repository {
	r := Repository{Place: s.place(), All: true}
	s.table(
		field{name: "name", read: func(m spot) { r.Name = m.text() }},
		field{name: "url", read: func(m spot) { r.URL = m.url() }},
		field{name: "charts", read: func(m spot) {
			r.All = m.isNull()
			m.list(func(i spot) { r.Charts = append(r.Charts, i.chart(false)) })
		}})
	s.needs(r.Name, "name")
	s.needs(r.URL, "url")
	return r
}

// chart reads a chart; local ones have a path.
func (s spot) chart(local bool) Chart {
	c := Chart{Place: s.place()}
	s.table(
		field{name: "name", read: func(m spot) { c.Name = m.text() }},
		field{name: "version", read: func(m spot) { c.Version = m.text() }},
		field{name: "path", read: func(m spot) {
			c.Path = m.text()
			if !local && c.Path != "" {
				m.fail("list the chart below helm.local", "a chart of a repository has no path")
			}
		}},
		field{name: "imagePaths", read: func(m spot) {
			c.ImagePathsAt = m.place()
			m.list(func(i spot) { c.ImagePaths = append(c.ImagePaths, i.jsonPath()) })
		}},
		field{name: "platforms", in: only2, read: func(m spot) { c.Platforms = m.platforms() }})
	if local {
		s.needs(c.Path, "path")
	} else {
		s.needs(c.Name, "name")
	}
	return c
}

func (r *reading) blocked(s spot) {
	s.table(field{name: "name", read: func(m spot) {
		text := m.text()
		if text == "" {
			return
		}
		re, err := regexp.Compile(text)
		if err != nil {
			m.fail("", "%q is no regular expression: %v", text, err)
			return
		}
		r.cfg.Blocked = append(r.cfg.Blocked, Blocked{Place: m.place(), Pattern: re})
	}})
	if m := s.peekTable("name"); m == nil || m.isNull() || m.n.Value == "" {
		s.needs("", "name")
	}
}

// platforms reads a list of platforms.
func (s spot) platforms() []relocate.Platform {
	var all []relocate.Platform
	s.list(func(i spot) {
		var p relocate.Platform
		i.table(
			field{name: "os", read: func(m spot) { p.OS = m.text() }},
			field{name: "architecture", read: func(m spot) { p.Architecture = m.text() }})
		i.needs(p.OS, "os")
		i.needs(p.Architecture, "architecture")
		all = append(all, p)
	})
	return all
}
