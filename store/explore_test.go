package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/entrepot/entrepot/oci"
)

// An explorer visits every state that processes which share a bucket can reach.
//
// What a process does next depends on nothing but the answers that it has had,
// since its code has no other way to the world. So each process is run alone, once
// for each sequence of answers, and becomes an automaton: a node says which call
// it is about to make, and where it goes from there with which answer. What the
// bucket holds becomes the nodes of another automaton in the same way. A state is
// a node of each, and the next one takes two look-ups. States are compared as they
// are, not by a hash of them.
type explorer struct {
	procs  []*automaton
	bucket bucketStates
	ops    numbers[stepOp]
	shown  numbers[stepResult]
	acked  []string // :: number of a writer → where one of the pins must be whole that are there when it was told so

	seen     stateSet
	limit    int  // of states; 0: none
	ahead    bool // everybody has read as far as there is to read before the first write
	switches int  // how often somebody is interrupted who could go on; <0: as often as can be
	path     []visit
	bad      string // what is wrong with the first bad state
}

// numbers gives out numbers from 0.
type numbers[T comparable] struct {
	all []T
	of  map[T]uint32
}

func (n *numbers[T]) number(v T) uint32 {
	i, ok := n.of[v]
	if !ok {
		if n.of == nil {
			n.of = map[T]uint32{}
		}
		i = uint32(len(n.all))
		n.of[v] = i
		n.all = append(n.all, v)
	}
	return i
}

// An automaton is a process as far as it was run.
type automaton struct {
	of, cut string
	work    stepWork
	nodes   []autoNode
}

type autoNode struct {
	from, with uint32 // the node before, and with which answer
	op         uint32
	quiet      bool // nobody comes before the call
	to         []autoEdge
}

type autoEdge struct{ with, to uint32 }

// The first nodes are those of processes that have ended. What led there is of
// no account to anybody.
const (
	endedWell uint32 = iota
	endedUnavailable
	begun
)

// node returns where an answer leads.
func (e *explorer) node(a *automaton, from, with uint32) uint32 {
	for _, edge := range a.nodes[from].to {
		if edge.with == with {
			return edge.to
		}
	}
	to := e.run(a, from, with)
	a.nodes[from].to = append(a.nodes[from].to, autoEdge{with, to})
	return to
}

// run runs a process with the answers that led to a node and one more.
func (e *explorer) run(a *automaton, from, with uint32) uint32 {
	var answers []uint32
	if len(a.nodes) > int(begun) {
		answers = append(answers, with)
		for n := from; n != begun; n = a.nodes[n].from {
			answers = append(answers, a.nodes[n].with)
		}
		slices.Reverse(answers)
	}
	var asks stepOp
	asked := 0
	p := newStepProc(a.of, a.cut, func(op stepOp) (stepResult, bool) {
		if asked++; asked <= len(answers) {
			return e.shown.all[answers[asked-1]], true
		}
		if asked == len(answers)+1 {
			asks = op
		}
		return stepResult{}, false
	})
	p.run(a.work)
	switch {
	case asked > len(answers):
		a.nodes = append(a.nodes, autoNode{from: from, with: with, op: e.ops.number(asks), quiet: !asks.isStep()})
		return uint32(len(a.nodes) - 1)
	case p.result == nil:
		return endedWell
	case !errors.Is(p.result, oci.ErrUnavailable):
		e.bad = fmt.Sprintf("process %s ended with %v", a.of, p.result)
	}
	return endedUnavailable
}

// bucketStates is the automaton of what the bucket holds.
type bucketStates struct {
	nodes  []bucketState
	pieces numbers[piece]
	of     map[string]uint32 // :: sorted pieces → node
	pins   map[string]pin
}

type piece struct {
	key     Key
	content string
}

type bucketState struct {
	holds    []uint32 // sorted pieces
	after    map[uint32]effect
	whole    []bool // :: number of a writer → a pin of its manifest is whole
	dangling Key    // a pin that names what is not there; "" for none
}

type effect struct{ to, shows uint32 }

// holding returns the node of what a bucket holds.
func (e *explorer) holding(objects map[Key]string) uint32 {
	b := &e.bucket
	var holds []uint32
	for k, content := range objects {
		holds = append(holds, b.pieces.number(piece{k, content}))
	}
	slices.Sort(holds)
	name := make([]byte, 0, 4*len(holds))
	for _, h := range holds {
		name = binary.LittleEndian.AppendUint32(name, h)
	}
	if n, ok := b.of[string(name)]; ok {
		return n
	}
	w := &stepWorld{objects: objects, pins: b.pins}
	s := bucketState{holds: holds, after: map[uint32]effect{}}
	_, s.dangling = w.whole("v/m/")
	for _, prefix := range e.acked {
		whole, _ := w.whole(prefix)
		s.whole = append(s.whole, whole != "")
	}
	n := uint32(len(b.nodes))
	b.nodes, b.of[string(name)] = append(b.nodes, s), n
	return n
}

// effect returns what a call shows, and what the bucket holds after it.
func (e *explorer) effect(n, op uint32) effect {
	b := &e.bucket
	if x, ok := b.nodes[n].after[op]; ok {
		return x
	}
	w := &stepWorld{objects: map[Key]string{}}
	for _, h := range b.nodes[n].holds {
		w.objects[b.pieces.all[h].key] = b.pieces.all[h].content
	}
	r := w.apply(e.ops.all[op])
	x := effect{shows: e.shown.number(r), to: e.holding(maps.Clone(w.objects))}
	b.nodes[n].after[op] = x
	return x
}

// A stepState is a node of each automaton. Where switches are counted it also
// says who made the last step, and how many there were.
type stepState struct {
	bucket uint32
	procs  [4]uint32
	last   uint8
	used   uint8
}

// name is the state in 128 bits, none of which may be lost.
func (s stepState) name() [2]uint64 {
	const bits24 = 1<<24 - 1
	for _, n := range append(s.procs[:], s.bucket) {
		if n > bits24 {
			panic("too many nodes")
		}
	}
	p := s.procs
	return [2]uint64{
		1<<63 | uint64(s.last)<<60 | uint64(s.used&15)<<56 | uint64(s.bucket)<<32 | uint64(p[0])<<8 | uint64(p[3]&255),
		uint64(p[1])<<40 | uint64(p[2])<<16 | uint64(p[3]>>8),
	}
}

func newExplorer(objects map[Key]string, acked []string) *explorer {
	e := &explorer{acked: acked, switches: -1, bucket: bucketStates{of: map[string]uint32{}, pins: map[string]pin{}}}
	e.holding(objects)
	return e
}

// add adds a process.
func (e *explorer) add(of, cut string, work stepWork) {
	a := &automaton{of: of, cut: cut, work: work, nodes: make([]autoNode, begun)}
	e.procs = append(e.procs, a)
}

// settle makes the calls of a process before which nobody comes.
func (e *explorer) settle(s stepState, i int) stepState {
	for s.procs[i] >= begun && e.procs[i].nodes[s.procs[i]].quiet {
		s = e.call(s, i)
	}
	return s
}

func (e *explorer) call(s stepState, i int) stepState {
	x := e.effect(s.bucket, e.procs[i].nodes[s.procs[i]].op)
	s.bucket, s.procs[i] = x.to, e.node(e.procs[i], s.procs[i], x.shows)
	return s
}

// A visit is a state, and who is tried next there.
type visit struct {
	stepState
	next int
}

// explore visits all states, unless one is bad.
func (e *explorer) explore() {
	var s stepState
	for i, a := range e.procs {
		s.procs[i] = e.run(a, 0, 0)
	}
	for i := range e.procs {
		s = e.settle(s, i)
		for e.ahead && s.procs[i] >= begun && !e.ops.all[e.procs[i].nodes[s.procs[i]].op].isWrite() {
			s = e.settle(e.call(s, i), i)
		}
	}
	e.visit(s)
	for len(e.path) > 0 && e.bad == "" && (e.limit == 0 || e.seen.n < e.limit) {
		at := &e.path[len(e.path)-1]
		i := at.next
		if at.next++; i == len(e.procs) {
			e.path = e.path[:len(e.path)-1]
			continue
		}
		if at.procs[i] < begun {
			continue
		}
		s := at.stepState
		if e.switches >= 0 {
			if s.last != uint8(i+1) && s.last > 0 && s.procs[s.last-1] >= begun {
				s.used++
			}
			if int(s.used) > e.switches {
				continue
			}
			s.last = uint8(i + 1)
		}
		e.visit(e.settle(e.call(s, i), i))
	}
}

// visit looks at a state, and goes on from there unless it has been here.
func (e *explorer) visit(s stepState) {
	if e.bad == "" && e.seen.add(s.name()) {
		e.path = append(e.path, visit{stepState: s})
		e.bad = e.wrong(s)
	}
	if e.bad != "" {
		e.bad += ", after the steps of"
		for _, at := range e.path[:max(0, len(e.path)-1)] {
			e.bad += " " + e.procs[at.next-1].of
		}
	}
}

// wrong says what is wrong with a state, "" for nothing: a writer was told that
// its manifest is stored, and it is not; or all have ended, and a pin dangles.
func (e *explorer) wrong(s stepState) string {
	held := &e.bucket.nodes[s.bucket]
	for i, whole := range held.whole {
		if s.procs[i] == endedWell && !whole {
			return fmt.Sprintf("writer %s was told that its manifest is stored, and it is not", e.procs[i].of)
		}
	}
	for i := range e.procs {
		if s.procs[i] >= begun {
			return ""
		}
	}
	if held.dangling != "" {
		return fmt.Sprintf("%s names what is not there", held.dangling)
	}
	return ""
}

// A stateSet holds names of states, none of which is zero.
type stateSet struct {
	slots [][2]uint64
	n     int
}

// add reports whether a name is new.
func (s *stateSet) add(name [2]uint64) bool {
	if s.n*4 >= len(s.slots)*3 {
		old := s.slots
		s.slots, s.n = make([][2]uint64, max(1024, 2*len(old))), 0
		for _, x := range old {
			if x[0] != 0 {
				s.add(x)
			}
		}
	}
	h := (name[0]*0x9e3779b97f4a7c15 ^ name[1]) * 0xff51afd7ed558ccd
	for i := int((h ^ h>>32) % uint64(len(s.slots))); ; i = (i + 1) % len(s.slots) {
		switch s.slots[i] {
		case name:
			return false
		case [2]uint64{}:
			s.slots[i] = name
			s.n++
			return true
		}
	}
}
