//! The requests that wait for a free slot, and whose turn it is.
//!
//! The queue is a tree with the groups that wait. At each node, the children below which somebody waits take turns, and
//! the group's own requests are one more child. A thousand requests of one customer therefore delay another customer's
//! requests one by one. Round robin between sources is from Nagle, "On Packet Switches with Infinite Storage" (RFC 970,
//! 1985; IEEE Transactions on Communications 35(4), 1987). Dividing each share among the children of a node in the same
//! way is from Bennett and Zhang, "Hierarchical Packet Fair Queueing Algorithms" (SIGCOMM 1996). All requests count as
//! equally long.
//!
//! A request that has tried some targets can use only the others, so a free slot is not for everyone. A node therefore
//! has a line for each set of tried targets that occurs below it, and the choice looks only at the heads of the lines
//! whose requests may go. These sets are few: if n targets fail one after the other, they make n sets.
//!
//! Invariants:
//!
//! * A line is never empty: it contains either children, in order of their turns, or a group's own requests, in order
//!   of their arrival numbers. So the way from a line of the root always leads to a request with the line's set.
//! * A child's line is in its parent's line of the same set. When a child is served, all its lines get a turn after all
//!   others. So does a new line.
//! * While a child has requests of a set that may go, each other child has at most one turn before it. A line whose
//!   requests may not go keeps its turn.
//! * A node other than the root exists if and only if it has a line.
//!
//! All operations are loops over the levels of the tree. Each takes constant time for each level and each set that
//! occurs there, and finds the request in one sorted map. Freed places are reused, and an empty queue returns its
//! memory.

use std::{
    collections::BTreeMap,
    ops::{Index, IndexMut},
};

use super::{hash::IdMap, id::GroupId, routing::TargetSet};

/// The place of the root in [`FairQueue::nodes`].
const ROOT: usize = 0;
/// Places that an empty queue keeps in each of its lists.
const SPARE: usize = 64;

/// The tree of those that wait. `W` is the caller's handle of a request.
#[derive(Debug)]
pub struct FairQueue<W> {
    nodes: Slab<Node>,
    lines: Slab<Line<W>>,
    /// The place of each node except the root. A group's ancestors never change, so its id says where it is.
    places: IdMap<NodeId, usize>,
    /// The last turn given.
    turn: u64,
    waiting: usize,
}

/// Where a request waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    id: NodeId,
    tried: TargetSet,
    arrival: u64,
}

/// A request that was taken out of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting<W> {
    /// The targets that it has tried.
    pub tried: TargetSet,
    /// The caller's handle.
    pub waiter: W,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum NodeId {
    /// A group, with its children.
    Group(GroupId),
    /// A group's own requests. `None` for requests without a group, which are a child of the root.
    Own(Option<GroupId>),
}

#[derive(Debug)]
struct Node {
    /// `None` for the root.
    id: Option<NodeId>,
    parent: usize,
    /// The places of its lines, in no order.
    lines: Vec<usize>,
}

/// The requests below a node that have tried the same targets. The lines of a node's children form rings, one for each
/// of the node's own lines.
#[derive(Debug)]
struct Line<W> {
    tried: TargetSet,
    node: usize,
    /// The parent's line. A line of the root has no parent and no ring, so this and the next three mean nothing there.
    parent: usize,
    /// The next turn of this line.
    turn: u64,
    /// The line before this one in its ring. The one before the first is the last.
    previous: usize,
    /// The line after this one in its ring.
    next: usize,
    /// The first in the ring of the children's lines. `None` in a line of a group's own requests.
    first: Option<usize>,
    /// A group's own requests by arrival number.
    own: BTreeMap<u64, W>,
}

impl<W> Default for FairQueue<W> {
    fn default() -> Self {
        let mut nodes = Slab::default();
        nodes.add(Node { id: None, parent: ROOT, lines: Vec::new() });
        Self { nodes, lines: Slab::default(), places: IdMap::default(), turn: 0, waiting: 0 }
    }
}

impl<W> FairQueue<W> {
    /// The number of requests that wait.
    pub fn len(&self) -> usize {
        self.waiting
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Adds a request of the group at the end of `path`, which begins with the group's root. No two requests have the
    /// same arrival number. A request that comes back after a failed attempt keeps its number, so it is ahead of the
    /// later ones of its group.
    pub fn push(&mut self, path: &[GroupId], arrival: u64, tried: TargetSet, waiter: W) -> Place {
        let id = NodeId::Own(path.last().copied());
        let own = self.find_or_add_node(path, id);
        let line = self.line(own, tried).unwrap_or_else(|| self.add_lines(own, tried));
        self.lines[line].own.insert(arrival, waiter);
        self.waiting += 1;
        Place { id, tried, arrival }
    }

    /// Takes out a request that no longer waits for a slot. `None` if it was taken out before.
    pub fn remove(&mut self, place: &Place) -> Option<W> {
        let own = *self.places.get(&place.id)?;
        self.take(self.line(own, place.tried)?, place.arrival)
    }

    /// Takes out the next in turn among the requests whose set of tried targets `may_go` accepts.
    pub fn pop(&mut self, may_go: impl Fn(TargetSet) -> bool) -> Option<Waiting<W>> {
        let sets = self.nodes[ROOT].lines.iter().map(|line| self.lines[*line].tried);
        let may_go: Vec<TargetSet> = sets.filter(|tried| may_go(*tried)).collect();
        let mut node = ROOT;
        while let Some(child) = self.next_child(node, &may_go) {
            self.move_to_end(child);
            node = child;
        }
        let lines = self.nodes[node].lines.iter().copied().filter(|line| may_go.contains(&self.lines[*line].tried));
        let firsts = lines.filter_map(|line| Some((*self.lines[line].own.first_key_value()?.0, line)));
        let (arrival, line) = firsts.min()?;
        let tried = self.lines[line].tried;
        self.take(line, arrival).map(|waiter| Waiting { tried, waiter })
    }

    /// The child of a node that is next in turn. `None` if the node has none.
    fn next_child(&self, node: usize, may_go: &[TargetSet]) -> Option<usize> {
        let lines = self.nodes[node].lines.iter().map(|line| &self.lines[*line]);
        let firsts = lines.filter(|line| may_go.contains(&line.tried)).filter_map(|line| line.first);
        firsts.map(|first| &self.lines[first]).min_by_key(|first| first.turn).map(|first| first.node)
    }

    /// Gives a child its next turn after all others.
    fn move_to_end(&mut self, child: usize) {
        self.turn += 1;
        for place in 0..self.nodes[child].lines.len() {
            let line = self.nodes[child].lines[place];
            let Line { parent, next, .. } = self.lines[line];
            if self.lines[parent].first == Some(line) {
                // The one before the first is the last.
                self.lines[parent].first = Some(next);
                self.lines[line].turn = self.turn;
            } else {
                self.leave(line);
                self.join(line);
            }
        }
    }

    /// Takes a request out of a line. Removes the lines that are empty then, and their nodes.
    fn take(&mut self, line: usize, arrival: u64) -> Option<W> {
        let waiter = self.lines[line].own.remove(&arrival)?;
        self.waiting -= 1;
        if self.lines[line].own.is_empty() {
            self.lines[line].own = BTreeMap::new();
            self.remove_lines(line);
        }
        if self.is_empty() {
            self.nodes.shrink(1);
            self.lines.shrink(0);
            self.places.shrink_to(SPARE);
        }
        Some(waiter)
    }

    fn line(&self, node: usize, tried: TargetSet) -> Option<usize> {
        self.nodes[node].lines.iter().copied().find(|line| self.lines[*line].tried == tried)
    }

    /// Adds a line of a set to a node and to the nodes above it that have none.
    fn add_lines(&mut self, node: usize, tried: TargetSet) -> usize {
        let added = self.add_line(node, tried);
        let (mut node, mut line) = (node, added);
        while node != ROOT {
            node = self.nodes[node].parent;
            let above = self.line(node, tried);
            self.turn += 1;
            self.lines[line].parent = above.unwrap_or_else(|| self.add_line(node, tried));
            self.join(line);
            if above.is_some() {
                break;
            }
            line = self.lines[line].parent;
        }
        added
    }

    /// Removes an empty line, and the lines above it that are empty without it.
    fn remove_lines(&mut self, line: usize) {
        let mut line = line;
        loop {
            let Line { node, parent, .. } = self.lines[line];
            self.lines.free(line);
            self.nodes[node].lines.retain(|other| *other != line);
            if node == ROOT {
                break;
            }
            self.leave(line);
            if self.nodes[node].lines.is_empty() {
                self.free_node(node);
            }
            if self.lines[parent].first.is_some() {
                break;
            }
            line = parent;
        }
    }

    fn add_line(&mut self, node: usize, tried: TargetSet) -> usize {
        let own = BTreeMap::new();
        let line = self.lines.add(Line { tried, node, parent: 0, turn: 0, previous: 0, next: 0, first: None, own });
        self.nodes[node].lines.push(line);
        line
    }

    /// Adds a line at the end of its parent's ring, with the last turn given.
    fn join(&mut self, line: usize) {
        let parent = self.lines[line].parent;
        let first = *self.lines[parent].first.get_or_insert(line);
        let last = if first == line { line } else { self.lines[first].previous };
        self.lines[last].next = line;
        self.lines[first].previous = line;
        let Line { turn, previous, next, .. } = &mut self.lines[line];
        (*turn, *previous, *next) = (self.turn, last, first);
    }

    /// Takes a line out of its parent's ring.
    fn leave(&mut self, line: usize) {
        let Line { parent, previous, next, .. } = self.lines[line];
        self.lines[previous].next = next;
        self.lines[next].previous = previous;
        if self.lines[parent].first == Some(line) {
            self.lines[parent].first = (next != line).then_some(next);
        }
    }

    /// The place of a group's own requests. Adds the nodes on the way to it that are missing.
    fn find_or_add_node(&mut self, path: &[GroupId], own: NodeId) -> usize {
        if let Some(place) = self.places.get(&own) {
            return *place;
        }
        let way = path.iter().map(|group| NodeId::Group(*group)).chain([own]);
        way.fold(ROOT, |parent, id| {
            let add = || self.nodes.add(Node { id: Some(id), parent, lines: Vec::with_capacity(1) });
            *self.places.entry(id).or_insert_with(add)
        })
    }

    fn free_node(&mut self, node: usize) {
        if let Some(id) = self.nodes[node].id {
            self.places.remove(&id);
        }
        self.nodes.free(node);
    }
}

/// Items with places that stay the same. The place of a freed item is reused.
#[derive(Debug)]
struct Slab<T> {
    items: Vec<T>,
    free: Vec<usize>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { items: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    fn add(&mut self, item: T) -> usize {
        if let Some(place) = self.free.pop() {
            self.items[place] = item;
            return place;
        }
        self.items.push(item);
        self.items.len() - 1
    }

    fn free(&mut self, place: usize) {
        self.free.push(place);
    }

    /// Keeps only the first items, and returns memory to the allocator.
    fn shrink(&mut self, len: usize) {
        self.items.truncate(len);
        self.items.shrink_to(SPARE);
        self.free.clear();
        self.free.shrink_to(SPARE);
    }
}

impl<T> Index<usize> for Slab<T> {
    type Output = T;

    fn index(&self, place: usize) -> &T {
        &self.items[place]
    }
}

impl<T> IndexMut<usize> for Slab<T> {
    fn index_mut(&mut self, place: usize) -> &mut T {
        &mut self.items[place]
    }
}

#[cfg(test)]
mod tests;
