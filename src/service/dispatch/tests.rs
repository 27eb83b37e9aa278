//! Several worker threads use one dispatcher at random, and the promises of the queue are checked. Steps that depend on
//! an exact order run on one thread.

use std::{
    pin::{Pin, pin},
    sync::atomic::AtomicU32,
    task::{Context, Poll, Waker},
    thread,
};

use tokio::{runtime, task::LocalSet, time::timeout};

use super::*;
use crate::domain::{
    endpoint::{self, Provider},
    id::GroupId,
    testing::Random,
};

const THREADS: u64 = 4;
/// A wait that no test reaches.
const LONG: Duration = Duration::from_secs(30);

/// Targets with these maxima of running requests.
fn targets(most: &[Option<u32>]) -> Vec<Arc<Target>> {
    let target = |(index, max_concurrent): (usize, &Option<u32>)| {
        let stored = endpoint::Target {
            provider: Provider::Demo,
            base_url: None,
            target_model: Some(format!("model {index}")),
            secret: None,
            model_id: None,
            environment_name: None,
            weight: 1,
            max_concurrent: *max_concurrent,
        };
        Arc::new(Target::compile(&stored, &"acme/chat".into(), |_| None))
    };
    most.iter().enumerate().map(target).collect()
}

fn plan(routing: Routing, queue_timeout: Duration, targets: Vec<Arc<Target>>) -> Plan {
    Plan { slug: "acme/chat".into(), routing, queue_timeout, targets }
}

fn dispatcher(plan: Plan) -> Arc<Dispatcher> {
    Arc::new(Dispatcher::new(Arc::new(Clock::start()), plan))
}

/// The target with another maximum, as after a change of the endpoint.
fn with_most(target: &Target, most: Option<u32>) -> Arc<Target> {
    let mut changed = targets(&[most]).remove(0);
    let new = Arc::get_mut(&mut changed).unwrap();
    new.model = target.model.clone();
    new.carry_over(target);
    changed
}

fn path(groups: &[u128]) -> Path {
    groups.iter().map(|id| GroupId(*id)).collect()
}

/// Runs `clients` tasks on each of several threads, and returns when all have ended. Tasks that still run on a thread
/// when another ends go on; timers that are left are dropped.
fn on_threads<F: Future<Output = ()> + 'static>(clients: u64, client: impl Fn(u64) -> F + Sync) {
    thread::scope(|scope| {
        for worker in 0..THREADS {
            let client = &client;
            scope.spawn(move || {
                let (runtime, tasks) = (one_thread(), LocalSet::new());
                (0..clients).for_each(|number| drop(tasks.spawn_local(client(number * THREADS + worker))));
                runtime.block_on(tasks);
            });
        }
    });
}

fn one_thread() -> runtime::Runtime {
    runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// The attempt of a request that gets a place at once.
fn place(dispatcher: &Arc<Dispatcher>) -> Attempt {
    let mut attempts = dispatcher.attempts(path(&[9]), None);
    let Poll::Ready(Ok(Some(attempt))) = poll(pin!(attempts.next())) else { panic!("no place is free") };
    attempt
}

async fn yield_up_to(random: &mut Random, times: u64) {
    for _ in 0..random.below(times + 1) {
        tokio::task::yield_now().await;
    }
}

fn assert_idle(dispatcher: &Arc<Dispatcher>) {
    let queue = dispatcher.queue.lock();
    assert_eq!((queue.scheduler.len(), dispatcher.waiting.load(Ordering::SeqCst)), (0, 0), "nobody waits");
    let running: Vec<_> = dispatcher.plan().targets.iter().map(|target| target.health.running()).collect();
    assert_eq!(running, vec![0; running.len()]);
    assert_eq!(Arc::strong_count(dispatcher), 1, "nothing is left of any attempt");
}

#[test]
fn nobody_waits_beside_a_free_place() {
    for most in [1, 2, 5] {
        let dispatcher = dispatcher(plan(Routing::Priority, LONG, targets(&[Some(most)])));
        on_threads(8, |number| {
            let dispatcher = dispatcher.clone();
            async move {
                let mut random = Random::new(number + 1);
                for _ in 0..100 {
                    let mut attempts = dispatcher.attempts(path(&[number.into()]), None);
                    let mut attempt = attempts.next().await.unwrap().unwrap();
                    assert!(attempt.target.health.running() <= most);
                    yield_up_to(&mut random, 3).await;
                    attempt.answered();
                }
            }
        });
        assert_eq!(dispatcher.queue_standing().timed_out, 0);
        assert_idle(&dispatcher);
    }
}

#[test]
fn no_place_is_lost_or_taken_twice_whatever_happens_to_requests_and_plan() {
    const MOST: [u32; 3] = [1, 2, 3];
    let original = targets(&MOST.map(Some));
    let dispatcher = dispatcher(plan(Routing::Priority, LONG, original.clone()));
    let running: Arc<[AtomicU32; 3]> = Arc::default();
    on_threads(12, |number| {
        let (dispatcher, original, running) = (dispatcher.clone(), original.clone(), running.clone());
        async move {
            let mut random = Random::new(number + 1);
            for _ in 0..40 {
                if number == 0 {
                    let mut targets = original.clone();
                    targets.rotate_left(random.below(3) as usize);
                    targets.truncate(1 + random.below(3) as usize);
                    let queue_timeout = random.pick(&[Duration::ZERO, Duration::from_millis(1), LONG]);
                    dispatcher.replace(plan(
                        random.pick(&[Routing::Priority, Routing::Spread]),
                        queue_timeout,
                        targets,
                    ));
                }
                let affinity = random.one_in(2).then(|| random.below(4));
                let mut attempts = dispatcher.attempts(path(&[number as u128 % 3, 10 + number as u128]), affinity);
                let patience = Duration::from_micros(random.pick(&[0, 300, 3000, 60_000_000]));
                while let Ok(Ok(Some(mut attempt))) = timeout(patience, attempts.next()).await {
                    let target = original.iter().position(|it| Arc::ptr_eq(it, &attempt.target)).unwrap();
                    assert!(running[target].fetch_add(1, Ordering::SeqCst) < MOST[target]);
                    yield_up_to(&mut random, 3).await;
                    running[target].fetch_sub(1, Ordering::SeqCst);
                    match random.below(16) {
                        0 => drop(attempt),
                        1 => attempt.refused(),
                        2 => attempt.limited("status 429", Some(Duration::from_millis(random.below(3)))),
                        3..6 => attempt.failed("status 500"),
                        _ => attempt.answered(),
                    }
                    if random.one_in(2) {
                        break;
                    }
                }
            }
        }
    });
    dispatcher.replace(plan(Routing::Priority, LONG, original));
    assert_idle(&dispatcher);
}

#[test]
fn a_request_does_not_overtake_those_who_wait_when_a_place_becomes_free() {
    let dispatcher = dispatcher(plan(Routing::Priority, LONG, targets(&[Some(1)])));
    let [mut first, mut second] = [1, 2].map(|group| dispatcher.attempts(path(&[group]), None));
    let (mut first, mut second) = (pin!(first.next()), pin!(second.next()));
    one_thread().block_on(async {
        let attempt = place(&dispatcher);
        assert!(poll(first.as_mut()).is_pending());
        // The moment when the place has been given up and nobody has been served yet.
        attempt.target.health.end();
        assert!(poll(second.as_mut()).is_pending());
        assert!(matches!(poll(first), Poll::Ready(Ok(Some(_)))));
        let _ = attempt.target.health.begin(0);
    });
}

#[test]
fn a_request_keeps_its_turn_in_its_group_after_a_target_that_failed_and_after_a_new_plan() {
    let dispatcher = dispatcher(plan(Routing::Priority, LONG, targets(&[Some(2), Some(1)])));
    one_thread().block_on(async {
        let [mut first, mut later] = [1, 1].map(|group| dispatcher.attempts(path(&[group]), None));
        let mut failing = first.next().await.unwrap().unwrap();
        let (_blocker, other) = (place(&dispatcher), place(&dispatcher));
        let mut later = pin!(later.next());
        assert!(poll(later.as_mut()).is_pending());
        failing.failed("status 500");
        let mut first = pin!(first.next());
        assert!(poll(first.as_mut()).is_pending());
        let reordered = dispatcher.plan().targets.iter().rev().cloned().collect();
        dispatcher.replace(plan(Routing::Priority, LONG, reordered));
        assert_eq!(dispatcher.queue_standing().waiting, 0, "they look again");
        assert!(poll(later.as_mut()).is_pending() && poll(first.as_mut()).is_pending());
        drop(other);
        assert!(poll(later.as_mut()).is_pending());
        assert!(matches!(poll(first), Poll::Ready(Ok(Some(_)))));
        drop(failing);
        assert!(matches!(poll(later), Poll::Ready(Ok(Some(_)))));
    });
    assert_idle(&dispatcher);
}

#[test]
fn a_target_that_is_in_again_serves_those_who_wait_also_after_its_pause_was_extended() {
    let dispatcher = dispatcher(plan(Routing::Priority, LONG, targets(&[None, Some(1)])));
    one_thread().block_on(async {
        let [mut one, mut other] = [place(&dispatcher), place(&dispatcher)];
        one.limited("status 429", Some(Duration::from_millis(20)));
        other.limited("status 429", Some(Duration::from_millis(60)));
        drop((one, other));
        let full = place(&dispatcher);
        assert_eq!(full.index, 1);
        let mut waiting = dispatcher.attempts(path(&[1]), None);
        let attempt = timeout(Duration::from_secs(5), waiting.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(attempt.index, 0);
        assert!(waiting.waited() < Duration::from_secs(1));
    });
    assert_idle(&dispatcher);
}

#[test]
fn a_target_left_out_before_the_endpoint_had_a_maximum_serves_those_who_wait_when_it_is_in_again() {
    let dispatcher = dispatcher(plan(Routing::Priority, LONG, targets(&[None, None])));
    one_thread().block_on(async {
        let mut one = place(&dispatcher);
        one.limited("status 429", Some(Duration::from_millis(50)));
        drop(one);
        let before = dispatcher.plan().targets.clone();
        let after = vec![before[0].clone(), with_most(&before[1], Some(1))];
        dispatcher.replace(plan(Routing::Priority, LONG, after));
        let full = place(&dispatcher);
        assert_eq!(full.index, 1);
        let mut waiting = dispatcher.attempts(path(&[1]), None);
        let attempt = timeout(Duration::from_secs(5), waiting.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(attempt.index, 0);
    });
    assert_idle(&dispatcher);
}

#[test]
fn the_queue_time_counts_all_waits_and_a_shorter_one_applies_at_once() {
    let target = targets(&[Some(1)]).remove(0);
    let dispatcher = dispatcher(plan(Routing::Priority, LONG, vec![target.clone()]));
    one_thread().block_on(async {
        let full = place(&dispatcher);
        let mut waiting = dispatcher.attempts(path(&[1]), None);
        let mut next = pin!(waiting.next());
        assert!(poll(next.as_mut()).is_pending());
        dispatcher.replace(plan(Routing::Priority, Duration::from_millis(30), vec![target.clone()]));
        assert!(poll(next.as_mut()).is_pending());
        assert_eq!(dispatcher.queue_standing().waiting, 1);
        dispatcher.replace(plan(Routing::Priority, Duration::ZERO, vec![target.clone()]));
        assert!(matches!(poll(next), Poll::Ready(Err(QueueFull))));
        drop(full);
        let standing = dispatcher.queue_standing();
        assert_eq!((standing.waiting, standing.waited, standing.timed_out), (0, 1, 1));
    });
    drop(place(&dispatcher));
    assert_idle(&dispatcher);
}

#[test]
fn a_wait_that_ends_in_a_hang_up_is_counted() {
    let dispatcher = dispatcher(plan(Routing::Priority, LONG, targets(&[Some(1)])));
    one_thread().block_on(async {
        let full = place(&dispatcher);
        let mut waiting = dispatcher.attempts(path(&[1]), None);
        assert!(poll(pin!(waiting.next())).is_pending());
        assert!(!waiting.waited().is_zero());
        let standing = dispatcher.queue_standing();
        assert_eq!((standing.waiting, standing.waited, standing.timed_out), (0, 1, 0));
        drop((waiting, full));
    });
    assert_idle(&dispatcher);
}

#[test]
fn a_change_that_leaves_the_targets_as_they_are_leaves_the_turns_as_they_are() {
    let dispatcher = dispatcher(plan(Routing::Priority, LONG, targets(&[Some(1)])));
    one_thread().block_on(async {
        let mut full = place(&dispatcher);
        let mut waiting: Vec<_> = [1, 1, 2].map(|group| dispatcher.attempts(path(&[group]), None)).into();
        let mut waiting: Vec<_> = waiting.iter_mut().map(|attempts| Box::pin(attempts.next())).collect();
        assert!(waiting.iter_mut().all(|next| poll(next.as_mut()).is_pending()));
        for next in [0, 2, 1] {
            let target = dispatcher.plan().targets[0].clone();
            dispatcher.replace(plan(Routing::Spread, LONG, vec![with_most(&target, Some(1))]));
            drop(full);
            let Poll::Ready(Ok(Some(attempt))) = poll(waiting[next].as_mut()) else { panic!("{next} is not next") };
            full = attempt;
        }
        drop(waiting);
    });
    assert_idle(&dispatcher);
}

#[test]
fn at_most_ten_thousand_requests_wait() {
    let dispatcher = dispatcher(plan(Routing::Priority, LONG, targets(&[Some(1)])));
    one_thread().block_on(async {
        let full = place(&dispatcher);
        let mut waiting: Vec<_> = (0..10_000).map(|group| dispatcher.attempts(path(&[group % 100]), None)).collect();
        let mut waiting: Vec<_> = waiting.iter_mut().map(|attempts| Box::pin(attempts.next())).collect();
        assert!(waiting.iter_mut().all(|next| poll(next.as_mut()).is_pending()));
        let mut late = dispatcher.attempts(path(&[200]), None);
        assert!(matches!(poll(pin!(late.next())), Poll::Ready(Err(QueueFull))));
        drop(waiting.pop());
        assert!(poll(pin!(late.next())).is_pending());
        drop((waiting, full));
    });
    assert_idle(&dispatcher);
}
