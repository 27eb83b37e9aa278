use tokio::task::LocalSet;

use super::*;
use crate::{
    service::{
        boot,
        metrics::{Format, WorkerMetrics, scrape},
        start::demo::{SLUG, Seeded, seed},
    },
    upstream::request,
};

#[test]
fn an_answer_whose_event_cannot_be_written_is_not_counted_as_billed() {
    let directory = tempfile::tempdir().unwrap();
    let booted = boot(Config { data_dir: directory.path().to_owned(), ..Config::default() }, None).unwrap();
    let gateway = &booted.gateway;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let seeded = LocalSet::new().block_on(&runtime, seed(&gateway.changes));
    let Ok(Seeded::Demo(key)) = seeded else { panic!("there is no demo") };
    let key = gateway.access.customer(key.expose()).unwrap();
    let model = gateway.core.catalog.load().models().next().unwrap().clone();
    let metrics = WorkerMetrics::start(&gateway.metrics).model(model.endpoint);
    let route = Route::ChatCompletions;
    let body = format!(r#"{{"model": "{SLUG}", "messages": [{{"role": "user", "content": "hi"}}]}}"#);
    let request = request::read(body.as_bytes(), b"application/json", route).unwrap();
    let bill = || {
        let (at, waited_for_body) = (Instant::now(), Duration::ZERO);
        let arrived = Arrived { id: 1, trace_id: None, key: key.clone(), route, at, waited_for_body };
        let admitted = gateway.metering.admit(arrived, &model, &request, None, &metrics);
        let Ok(Admission { mut reservation, .. }) = admitted else { panic!("the request was not admitted") };
        let (usage, usage_source) = (Usage { input: 3, output: 2, ..Usage::default() }, UsageSource::Upstream);
        let answer =
            AnswerFacts { target: 0, status: 200, ttft_ms: Some(1), streamed: false, usage, usage_source, units: None };
        reservation.settle(answer).is_some()
    };
    for is_written in [true, false] {
        assert_eq!(bill(), is_written);
        let text = scrape(gateway, Format::Prometheus);
        for sample in [
            r#"tokens_total{model="demo/echo",kind="input"} 3"#,
            r#"time_to_first_byte_seconds_count{route="/v1/chat/completions",model="demo/echo"} 1"#,
            r#"requests_in_flight{model="demo/echo"} 0"#,
        ] {
            assert!(text.contains(&format!("\ntollgate_{sample}\n")), "{sample} in {text}");
        }
        let counted = gateway.core.counts.read();
        assert_eq!((counted.billed, counted.input_tokens, counted.running), (1, 3, 0));
        gateway.core.journal.close(Duration::from_secs(30));
    }
    booted.close();
}
