use super::*;

const A: GroupId = GroupId(1);
const B: GroupId = GroupId(2);
const C: GroupId = GroupId(3);
const TEAM: GroupId = GroupId(11);
const OTHER_TEAM: GroupId = GroupId(12);

/// A queue whose waiters are their names. Requests arrive in the order of the calls.
#[derive(Default)]
struct Queue {
    queue: FairQueue<&'static str>,
    arrivals: u64,
}

impl Queue {
    fn push(&mut self, path: &[GroupId], tried: TargetSet, name: &'static str) -> Place {
        self.arrivals += 1;
        self.queue.push(path, self.arrivals, tried, name)
    }

    fn push_all(&mut self, path: &[GroupId], names: &[&'static str]) -> Vec<Place> {
        names.iter().map(|name| self.push(path, TargetSet::EMPTY, name)).collect()
    }

    fn pop_all(&mut self) -> Vec<&'static str> {
        std::iter::from_fn(|| self.queue.pop(|_| true)).map(|waiting| waiting.waiter).collect()
    }
}

fn tried(targets: &[usize]) -> TargetSet {
    let mut set = TargetSet::EMPTY;
    targets.iter().for_each(|target| set.insert(*target));
    set
}

#[test]
fn requests_of_one_group_go_first_come_first_served() {
    let mut queue = Queue::default();
    queue.push_all(&[A, TEAM], &["1", "2", "3"]);
    assert_eq!(queue.pop_all(), ["1", "2", "3"]);
}

#[test]
fn customers_take_turns_however_many_requests_each_has() {
    let mut queue = Queue::default();
    queue.push_all(&[A], &["a1", "a2", "a3", "a4"]);
    queue.push_all(&[B], &["b1", "b2"]);
    queue.push_all(&[C], &["c1"]);
    assert_eq!(queue.pop_all(), ["a1", "b1", "c1", "a2", "b2", "a3", "a4"]);
}

#[test]
fn teams_share_the_turns_of_their_customer_and_its_own_requests_are_one_more_team() {
    let mut queue = Queue::default();
    queue.push_all(&[A, TEAM], &["t1", "t2"]);
    queue.push_all(&[A, OTHER_TEAM], &["u1", "u2"]);
    queue.push_all(&[A], &["a1", "a2"]);
    queue.push_all(&[B], &["b1", "b2", "b3", "b4", "b5", "b6"]);
    assert_eq!(queue.pop_all(), ["t1", "b1", "u1", "b2", "a1", "b3", "t2", "b4", "u2", "b5", "a2", "b6"]);
}

#[test]
fn a_customer_who_comes_again_goes_behind_those_who_wait() {
    let mut queue = Queue::default();
    queue.push_all(&[A], &["a1"]);
    queue.push_all(&[B], &["b1", "b2"]);
    assert_eq!(queue.queue.pop(|_| true).unwrap().waiter, "a1");
    queue.push_all(&[A], &["a2"]);
    assert_eq!(queue.pop_all(), ["b1", "a2", "b2"]);
}

#[test]
fn a_request_that_comes_back_is_ahead_of_later_ones_of_its_group() {
    let mut queue = Queue::default();
    queue.push_all(&[A], &["a1", "a2", "a3"]);
    assert_eq!(queue.queue.pop(|_| true), Some(Waiting { tried: TargetSet::EMPTY, waiter: "a1" }));
    queue.queue.push(&[A], 1, tried(&[0]), "a1 again");
    assert_eq!(queue.pop_all(), ["a1 again", "a2", "a3"]);
}

#[test]
fn those_who_cannot_use_the_free_slot_keep_their_turn_and_delay_nobody() {
    let mut queue = Queue::default();
    queue.push(&[A], tried(&[0]), "a1");
    queue.push(&[A], TargetSet::EMPTY, "a2");
    queue.push(&[B, TEAM], tried(&[0]), "b1");
    queue.push_all(&[C], &["c1", "c2"]);
    let mut pop = |may_go: fn(TargetSet) -> bool| queue.queue.pop(may_go).map(|waiting| waiting.waiter);
    // Target 0 has free slots.
    let untried = |tried: TargetSet| !tried.contains(0);
    assert_eq!(pop(untried), Some("a2"));
    assert_eq!(pop(untried), Some("c1"));
    // Target 1 has free slots too. `b1` has kept its turn, and A and C have had theirs.
    assert_eq!(pop(|_| true), Some("b1"));
    assert_eq!(pop(|_| true), Some("a1"));
    assert_eq!(pop(|_| false), None);
    assert_eq!(pop(|_| true), Some("c2"));
    assert_eq!(pop(|_| true), None);
}

#[test]
fn a_request_that_hangs_up_leaves_the_turns_of_the_others_as_they_are() {
    let mut queue = Queue::default();
    let a = queue.push_all(&[A], &["a1", "a2"]);
    let b = queue.push_all(&[B, TEAM], &["b1"]);
    queue.push_all(&[C], &["c1", "c2"]);
    assert_eq!(queue.queue.remove(&a[0]), Some("a1"));
    assert_eq!(queue.queue.remove(&b[0]), Some("b1"));
    assert_eq!(queue.queue.remove(&a[0]), None);
    assert_eq!(queue.queue.remove(&b[0]), None);
    assert_eq!(queue.queue.len(), 3);
    assert_eq!(queue.pop_all(), ["a2", "c1", "c2"]);
    assert_eq!(queue.queue.remove(&a[1]), None);
}

#[test]
fn requests_without_a_group_wait_too() {
    let mut queue = Queue::default();
    queue.push_all(&[], &["1", "2"]);
    queue.push_all(&[A], &["a1"]);
    assert_eq!(queue.pop_all(), ["1", "a1", "2"]);
}

#[test]
fn an_empty_queue_keeps_no_memory_of_those_who_waited() {
    let mut queue = FairQueue::default();
    let groups = (0..10_000_u128).map(|n| [0, 1, 2, 3, 4].map(|level| GroupId(level << 64 | n >> (12 - 3 * level))));
    let places: Vec<Place> =
        (0..).zip(groups).map(|(arrival, path)| queue.push(&path, arrival, TargetSet::EMPTY, ())).collect();
    assert!(capacity(&queue) > 30_000);
    let hung_up = places.iter().step_by(2).filter_map(|place| queue.remove(place)).count();
    let served = std::iter::from_fn(|| queue.pop(|_| true)).count();
    assert_eq!((hung_up, served), (5000, 5000));
    assert_eq!((queue.len(), queue.places.len()), (0, 0));
    assert!(capacity(&queue) <= 6 * SPARE, "{}", capacity(&queue));
}

/// Places for which the queue has allocated memory.
fn capacity<W>(queue: &FairQueue<W>) -> usize {
    let FairQueue { nodes, lines, places, .. } = queue;
    let slabs = nodes.items.capacity() + nodes.free.capacity() + lines.items.capacity() + lines.free.capacity();
    slabs + places.capacity()
}
