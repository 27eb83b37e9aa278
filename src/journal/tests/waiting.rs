//! Tests of waiting for records to become durable.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::*;

fn current_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

#[test]
fn thousands_of_waiters_on_two_runtimes_are_all_woken() {
    let dir = TempDir::new().unwrap();
    let (journal, _) = open(&dir);
    let workers: Vec<_> = (0..2)
        .map(|_| {
            let journal = journal.clone();
            thread::spawn(move || {
                let local = tokio::task::LocalSet::new();
                local.block_on(&current_thread(), async move {
                    let tasks: Vec<_> = (0..2000)
                        .map(|i: u64| {
                            let journal = journal.clone();
                            tokio::task::spawn_local(async move {
                                for _ in 0..5 {
                                    let seq = journal.append(&i.to_le_bytes()).unwrap().seq;
                                    journal.durable(seq).await;
                                    assert!(journal.durable_seq() >= seq);
                                }
                            })
                        })
                        .collect();
                    for task in tasks {
                        task.await.unwrap();
                    }
                });
            })
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
    let stats = journal.stats();
    assert_eq!(stats.records, 20_000);
    assert!(stats.syncs < 10_000, "{stats:?}");
}

#[test]
fn a_dropped_waiter_leaves_nothing_behind() {
    let dir = TempDir::new().unwrap();
    let (journal, _) = open(&dir);
    current_thread().block_on(async {
        for round in 0..1000 {
            let waiting = journal.durable(1_000_000 + round);
            tokio::pin!(waiting);
            std::future::poll_fn(|context| {
                assert!(waiting.as_mut().poll(context).is_pending());
                std::task::Poll::Ready(())
            })
            .await;
        }
        assert_eq!(journal.shared.progress.waiting(), 0);
        let never = journal.durable(1_000_000);
        let seq = journal.append(b"x").unwrap().seq;
        tokio::select! {
            biased;
            () = never => panic!("that record was never appended"),
            () = journal.durable(seq) => {}
        }
        assert_eq!(journal.shared.progress.waiting(), 0);
    });
}

#[test]
fn several_runtimes_in_turn_on_one_thread_can_wait_for_several_journals() {
    let dirs = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let journals: Vec<_> = dirs.iter().map(|dir| open(dir).0).collect();
    for _ in 0..3 {
        let runtime = current_thread();
        for journal in journals.iter().chain(&journals) {
            runtime.block_on(async {
                let seq = journal.append(b"x").unwrap().seq;
                journal.durable(seq).await;
            });
        }
    }
    for journal in &journals {
        assert_eq!(journal.durable_seq(), 6);
        assert_eq!(journal.shared.progress.workers(), 0, "the worker of an ended runtime is removed");
    }
}

#[test]
fn a_waiter_outside_any_runtime_is_woken() {
    struct Flag(AtomicBool, thread::Thread);
    impl std::task::Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
            self.1.unpark();
        }
    }
    let dir = TempDir::new().unwrap();
    let (journal, _) = open(&dir);
    let flag = Arc::new(Flag(AtomicBool::new(false), thread::current()));
    let waker = flag.clone().into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut waiting = Box::pin(journal.durable(1));
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    journal.append(b"x").unwrap();
    while !flag.0.load(Ordering::SeqCst) {
        thread::park();
    }
    assert!(waiting.as_mut().poll(&mut context).is_ready());
}
