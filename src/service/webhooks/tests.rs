use std::{
    fs,
    os::unix::fs::FileExt,
    path::Path,
    pin::pin,
    sync::{Arc, mpsc},
    task::{Context, Waker},
    thread,
    time::Duration,
};

use tokio::task::LocalSet;

use super::{Deliveries, DeliveryState, attempt::client, stop::Stop, worker::DeliveryWorker};
use crate::{
    config::Config,
    domain::{
        record::{Actor, Record},
        testing::settled,
        webhook::{Webhook, WebhookTypes},
    },
    journal::{
        codec,
        faults::{Op, fail_next, heal},
    },
    service::{
        Booted, Gateway, boot,
        changes::webhooks::{NewWebhook, WebhookPatch},
        status::{Notice, notice},
    },
};

/// A URL on which no server listens.
const NOWHERE: &str = "http://127.0.0.1:9/";

fn booted(data_dir: &Path) -> Booted {
    boot(Config { data_dir: data_dir.to_owned(), ..Config::default() }, None).unwrap()
}

/// Bills a request. Returns the sequence number of its record.
fn bill(gateway: &Gateway) -> u64 {
    let mut body = Vec::new();
    codec::encode(&Record::Settled(settled()), &mut body).unwrap();
    gateway.core.journal.append(&body).unwrap().seq
}

async fn create(gateway: &Arc<Gateway>, enabled: bool) -> Arc<Webhook> {
    let url = NOWHERE.to_owned();
    let new = NewWebhook { url, description: None, enabled, types: WebhookTypes::default() };
    gateway.changes.create_webhook(Actor::system(), new).await.unwrap().view.webhook
}

fn notices(gateway: &Gateway) -> Vec<Notice> {
    gateway.webhooks.list(None).iter().flat_map(notice::of_webhook).collect()
}

async fn eventually(condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), met).await.expect("the condition was not met in time");
}

/// Runs a webhook's worker until the condition holds for its state.
async fn work_until(gateway: &Arc<Gateway>, webhook: &Webhook, condition: impl Fn(&DeliveryState) -> bool) {
    let worker =
        DeliveryWorker::new(&gateway.webhooks, &gateway.storage, webhook, &client(&gateway.core), &Stop::default());
    tokio::select! {
        () = worker.run() => panic!("the worker ended"),
        () = eventually(|| condition(&gateway.webhooks.find(webhook.id).unwrap().standing)) => {}
    }
}

/// Damages the last record of the journal.
fn rot_last_record(gateway: &Gateway) {
    let segment = gateway.core.journal.segments().unwrap().pop().unwrap();
    let file = fs::OpenOptions::new().write(true).open(&segment.path).unwrap();
    file.write_all_at(b"rot", segment.bytes - 8).unwrap();
}

#[tokio::test]
async fn an_enabled_webhook_needs_its_undelivered_events_until_they_are_skipped() {
    let directory = tempfile::tempdir().unwrap();
    let booted = booted(directory.path());
    let gateway = booted.gateway.clone();
    LocalSet::new()
        .run_until(async {
            create(&gateway, true).await;
            create(&gateway, false).await;
            let last = (0..10).map(|_| bill(&gateway)).max().unwrap();
            gateway.core.journal.durable(last).await;

            let [(webhook, first)] = &gateway.webhooks.needed_records()[..] else { panic!("one is enabled") };
            assert_eq!(*first, 1);
            assert!(notices(&gateway).is_empty());
            gateway.webhooks.skip_to(webhook, 8);
            assert_eq!(gateway.webhooks.needed_records()[0].1, 8);
            assert_eq!(gateway.webhooks.find(webhook.id).unwrap().records_behind, last - 7);
            let [notice] = &notices(&gateway)[..] else { panic!("one sentence") };
            assert!(notice.message.contains("up to record 7"), "{notice:?}");
        })
        .await;
    drop(gateway);
    booted.close();
}

#[tokio::test]
async fn a_webhook_whose_operator_hung_up_before_it_was_durable_still_gets_deliveries() {
    for was_there in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let booted = booted(directory.path());
        let gateway = booted.gateway.clone();
        let journal = directory.path().join("journal");
        let deliveries = Deliveries::start(&gateway.webhooks, &gateway.storage).unwrap();
        let poll_once = &mut Context::from_waker(Waker::noop());
        LocalSet::new()
            .run_until(async {
                let disabled = if was_there { Some(create(&gateway, false).await.id) } else { None };
                fail_next(&journal, Op::Write, usize::MAX);
                if let Some(id) = disabled {
                    let patch = WebhookPatch { enabled: Some(true), ..WebhookPatch::default() };
                    assert!(
                        pin!(gateway.changes.update_webhook(Actor::system(), id, patch)).poll(poll_once).is_pending()
                    );
                } else {
                    assert!(pin!(create(&gateway, true)).poll(poll_once).is_pending());
                }
                heal(&journal);
                eventually(|| gateway.webhooks.list(None).iter().any(|view| view.webhook.enabled)).await;
                bill(&gateway);
                eventually(|| gateway.webhooks.list(None)[0].standing.failed_attempts > 0).await;
            })
            .await;
        deliveries.stop();
        drop(gateway);
        booted.close();
    }
}

#[test]
fn an_unreadable_end_of_the_journal_keeps_no_thread_busy() {
    let directory = tempfile::tempdir().unwrap();
    let booted = booted(directory.path());
    let gateway = booted.gateway.clone();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let webhook = LocalSet::new().block_on(&runtime(), create(&gateway, true));
    let last = bill(&gateway);
    assert!(gateway.core.journal.durable_blocking(last, Duration::from_secs(10)));
    rot_last_record(&gateway);

    let (ends, ended) = mpsc::channel();
    thread::spawn(move || {
        runtime().block_on(async {
            work_until(&gateway, &webhook, |standing| standing.passed == last - 1).await;
        });
        ends.send(()).unwrap();
    });
    assert!(ended.recv_timeout(Duration::from_secs(20)).is_ok(), "the worker is in a busy loop");
    booted.close();
}

#[test]
fn unreadable_events_are_reported() {
    let directory = tempfile::tempdir().unwrap();
    let booted = booted(directory.path());
    let gateway = booted.gateway.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let webhook = LocalSet::new().block_on(&runtime, create(&gateway, true));
    let bill = || {
        let seq = bill(&gateway);
        assert!(gateway.core.journal.durable_blocking(seq, Duration::from_secs(10)));
        seq
    };
    bill();
    let damaged = bill();
    rot_last_record(&gateway);
    bill();
    runtime.block_on(work_until(&gateway, &webhook, |standing| standing.unreadable.is_some()));
    assert_eq!(gateway.webhooks.find(webhook.id).unwrap().standing.unreadable, Some((damaged, damaged)));
    let [notice] = &notices(&gateway)[..] else { panic!("one sentence") };
    assert!(notice.message.contains(&format!("records {damaged} to {damaged}")), "{notice:?}");
    drop(gateway);
    booted.close();
}
