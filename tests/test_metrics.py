"""`/metrics`: what was sent is what is counted, in both formats, and labels come from the configuration alone."""

import collections
import concurrent.futures
import decimal
import gzip
import json
import re

import pytest

from support.gateway import Customer, Gateway, fresh, message, model, rate, target_of
from support.prometheus import Scrape, promtool, scrape
from support.reply import Reply
from support.scripted import Pause
from support.wire import Connection

CHAT, EMBED = "/v1/chat/completions", "/v1/embeddings"
PRICES = {"currency": "EUR", "input": "0.30", "output": "1.234567", "cached": "0.1"}
CLIENTS, EACH = 8, 125
OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture(scope="module")
def gateway():
    with Gateway(metrics_groups=2, workers=2) as running:
        yield running


def test_counters_are_exact_over_all_workers(gateway, upstream):
    upstream.always(Reply(cached=2))
    slugs = [gateway.create_endpoint(upstream, pricing=PRICES)["slug"] for _ in range(2)]
    key = gateway.mint_key(gateway.create_group(*slugs))

    def send(client):
        with Connection(gateway.address) as connection:
            for number in range(EACH):
                body = {"model": slugs[number % 2], "messages": message(f"hello {'again ' * (number % 7)}")}
                body |= {"stream": True} if number % 3 else {}
                connection.request("POST", CHAT, Customer(gateway, key).headers(), body)
                answer = connection.read_answer()
                assert answer.status == 200 and (b"[DONE]" in answer.body) == (number % 3 > 0)

    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(send, range(CLIENTS)))
    counted = scrape(gateway)
    events = collections.defaultdict(list)
    for event in gateway.events(key):
        events[event["modelSlug"]].append(event)
    assert sum(map(len, events.values())) == CLIENTS * EACH
    for slug in slugs:
        requests = len(events[slug])
        for name in ("tollgate_request_duration_seconds_count", "tollgate_time_to_first_byte_seconds_count"):
            assert counted.find(name, model=slug) == [({"route": CHAT, "model": slug}, requests)], name
        assert counted.values("tollgate_requests_total", model=slug, route=CHAT, status="200") == [requests]
        assert counted.total("tollgate_requests_total", model=slug) == requests
        for kind, member in [("input", "inputTokens"), ("output", "outputTokens"), ("cached", "cachedInputTokens")]:
            tokens = sum(event["tokens"][member] for event in events[slug])
            assert counted.values("tollgate_tokens_total", model=slug, kind=kind) == [tokens] and tokens
        cost = sum(decimal.Decimal(event["cost"]["amount"]) for event in events[slug])
        assert counted.values("tollgate_cost_total", model=slug, currency="EUR") == [pytest.approx(float(cost))]
        ttft = sum(event["ttftMs"] for event in events[slug]) / 1000
        assert counted.total("tollgate_time_to_first_byte_seconds_sum", model=slug) == pytest.approx(ttft)
        assert counted.values("tollgate_target_attempts_total", model=slug, outcome="answered") == [requests]
        assert counted.values("tollgate_requests_in_flight", model=slug) == [0]
        buckets = counted.values("tollgate_request_duration_seconds_bucket", model=slug)
        assert buckets == sorted(buckets) and len(buckets) == 17 and buckets[-1] == requests


def test_refusals_are_counted_by_code_and_by_models_that_the_key_may_call(gateway, limited, slug, customer):
    before = scrape(gateway)
    assert customer.chat("evil/model-{}").status == 404
    assert customer.post("/v1/evil", {}).status == 404
    assert Customer(gateway, "sk_wrong").chat(slug).status == 401
    assert customer.post(CHAT, b"{").status == 400
    assert customer.post(CHAT, {"model": slug, "messages": message("hi"), "n": "x"}).status == 400
    assert customer.get("/v1/models").status == 200
    _, refused = limited([rate("REQUEST", "MINUTE", 0)])
    assert refused.chat(slug).status == 429
    after = scrape(gateway)

    def more(name, **labels):
        return after.total(name, **labels) - before.total(name, **labels)

    assert more("tollgate_refusals_total", model="other", code="model_not_found") == 1
    assert more("tollgate_refusals_total", model="other", code="unknown_url") == 1
    assert more("tollgate_refusals_total", model="other", code="invalid_api_key") == 1
    assert more("tollgate_refusals_total", model=slug, code="rate_limit_exceeded") == 1
    assert more("tollgate_refusals_total", model=slug) == 2, "a bad request for a model, and one above its limit"
    assert more("tollgate_requests_total", model="other", route="unknown", status="404") == 1
    assert more("tollgate_requests_total", model="other", route="/v1/models", status="200") == 1
    assert more("tollgate_requests_total", model=slug, route=CHAT, status="429") == 1
    assert more("tollgate_requests_total") == 7
    assert "evil" not in after.text and "healthz" not in after.text


def test_probes_are_not_counted(gateway, customer):
    before = scrape(gateway).total("tollgate_requests_total")
    assert customer.get("/healthz").status == customer.get("/readyz").status == 200
    assert scrape(gateway).total("tollgate_requests_total") == before


def test_attempts_are_counted_by_target_and_outcome_and_a_target_that_is_left_out_is_down(gateway, upstream, second):
    slug = gateway.create_endpoint([upstream, second])["slug"]
    customer = gateway.customer(gateway.mint_key(gateway.create_group(slug)))
    assert scrape(gateway).find("tollgate_target_up", model=slug) == [
        ({"model": slug, "target": "0"}, 1),
        ({"model": slug, "target": "1"}, 1),
    ]
    upstream.reply_next(Reply(429))
    upstream.reply_next(Reply(400, json_body={"error": {"message": "no"}}))
    upstream.reply_next(Reply(500), times=5)
    assert [customer.chat(slug).status for _ in range(7)] == [200, 400, 200, 200, 200, 200, 200]
    seen = scrape(gateway)
    attempts = {
        (labels["target"], labels["outcome"]): value
        for labels, value in seen.find("tollgate_target_attempts_total", model=slug)
        if value
    }
    assert attempts == {("0", "limited"): 1, ("0", "refused"): 1, ("0", "failed"): 5, ("1", "answered"): 6}
    assert seen.values("tollgate_target_up", model=slug) == [0, 1]
    assert seen.values("tollgate_refusals_total", model=slug, code="upstream_refused") == [1]


def test_requests_that_run_and_that_wait_are_gauges(gateway, upstream):
    slug = gateway.create_endpoint(target_of(upstream, max_concurrent=1), queue_timeout_s=30)["slug"]
    customer = gateway.customer(gateway.mint_key(gateway.create_group(slug)))
    gate = upstream.hang_next()
    first = customer.begin_chat(slug)
    gate.reached()
    second = customer.begin_chat(slug)
    gateway.eventually(lambda: scrape(gateway).values("tollgate_queue_length", model=slug), [1].__eq__)
    assert scrape(gateway).values("tollgate_requests_in_flight", model=slug) == [2]
    gate.release()
    assert first.read_answer().status == second.read_answer().status == 200
    seen = scrape(gateway)
    assert seen.values("tollgate_requests_in_flight", model=slug) == [0]
    assert seen.values("tollgate_queue_length", model=slug) == [0]
    assert seen.values("tollgate_queue_wait_seconds_count", model=slug) == [1]
    assert seen.total("tollgate_queue_wait_seconds_sum", model=slug) > 0


def test_a_wait_that_ends_in_a_hang_up_is_counted(gateway, upstream):
    slug = gateway.create_endpoint(target_of(upstream, max_concurrent=1), queue_timeout_s=30)["slug"]
    customer = gateway.customer(gateway.mint_key(gateway.create_group(slug)))
    gate = upstream.hang_next()
    first = customer.begin_chat(slug)
    gate.reached()
    for is_stream in (False, True):
        waiting = customer.begin_chat(slug, stream=is_stream)
        gateway.eventually(lambda: scrape(gateway).values("tollgate_queue_length", model=slug), [1].__eq__)
        waiting.close()
        gateway.eventually(lambda: scrape(gateway).values("tollgate_queue_length", model=slug), [0].__eq__)
    gate.release()
    assert first.read_answer().status == 200
    gateway.eventually(lambda: scrape(gateway).values("tollgate_requests_in_flight", model=slug), [0].__eq__)
    assert scrape(gateway).values("tollgate_queue_wait_seconds_count", model=slug) == [2]


def test_overhead_leaves_out_the_waits_for_the_upstream_the_queue_and_the_customer(own, upstream):
    slug = own.create_endpoint(target_of(upstream, max_concurrent=1), queue_timeout_s=30)["slug"]
    customer = own.customer(own.mint_key(own.create_group(slug)))
    wait = 0.5
    upstream.reply_next(Reply(before_head=Pause(wait)))  # the first
    upstream.reply_next(Reply(insert={3: Pause(wait)}))  # the second, which has waited for the first
    first = customer.begin_chat(slug)
    upstream.wait_requests(1)
    second = customer.begin_chat(slug, stream=True)
    assert first.read_answer().status == second.read_answer().status == 200
    body = json.dumps({"model": slug, "messages": message("hi")}).encode()
    with Connection(own.address) as slow:
        slow.send_head("POST", CHAT, customer.headers([("content-length", len(body))]))
        upstream.reply_next(Reply(before_head=Pause(wait)))
        assert customer.chat(slug).status == 200, "the gateway waits for the body while another request is answered"
        slow.send(body)
        assert slow.read_answer().status == 200
    seen = scrape(own)
    assert seen.values("tollgate_overhead_seconds_count", route=CHAT) == [4]
    total, added = seen.total("tollgate_request_duration_seconds_sum"), seen.total("tollgate_overhead_seconds_sum")
    # The first and the third request wait once, the second twice, and the slow one for its body.
    assert total > 4.5 * wait and 0 < added < 0.8 * wait, (total, added)


def test_a_hang_up_is_counted_once_with_the_status_that_was_sent(own, upstream):
    slug = own.create_endpoint(upstream)["slug"]
    customer = own.customer(own.mint_key(own.create_group(slug)))
    gate = upstream.hang_next()
    silent = customer.begin_chat(slug)
    gate.reached()
    silent.close()
    own.eventually(lambda: scrape(own).values("tollgate_requests_total", model=slug, status="499"), [1].__eq__)
    upstream.stall_next(after=2)
    connection, _, stream = customer.stream_chat(slug)
    stream.next()
    connection.close()
    own.eventually(lambda: scrape(own).values("tollgate_requests_total", model=slug, status="200"), [1].__eq__)
    own.eventually(lambda: scrape(own).values("tollgate_requests_in_flight", model=slug), [0].__eq__)
    seen = scrape(own)
    assert seen.total("tollgate_requests_total") == 2
    assert seen.values("tollgate_overhead_seconds_count") == [], "the time of an answer without an end is not known"


def test_a_stream_that_was_kept_alive_is_counted_once(upstream):
    with Gateway(stream_keepalive="50ms") as gateway:
        slug = gateway.create_endpoint(upstream)["slug"]
        customer = gateway.customer(gateway.mint_key(gateway.create_group(slug)))
        for status in (200, 500):
            gate = upstream.gate()
            upstream.reply_next(Reply(status, before_head=gate))
            # Returns with the head, which does not wait for the upstream.
            connection, _, stream = customer.stream_chat(slug)
            gate.release()
            events = list(iter(stream.next, None))
            assert ("error" in events[-1]) == (status == 500), events
            connection.close()
        seen = scrape(gateway)
        assert seen.find("tollgate_requests_total") == [({"route": CHAT, "model": slug, "status": "200"}, 2)]
        assert seen.find("tollgate_refusals_total") == [({"model": slug, "code": "upstream_error"}, 1)]


def test_a_renamed_model_keeps_its_counters_and_a_deleted_one_has_none(gateway, upstream):
    endpoint = gateway.create_endpoint(upstream)
    path, slug, renamed = f"/v1/gateway/endpoints/{endpoint['id']}", endpoint["slug"], fresh("acme/renamed")
    customer = gateway.customer(gateway.mint_key(gateway.create_group(slug)))
    assert customer.chat(slug).status == 200
    gateway.admin("PATCH", path, {"slug": renamed})
    assert customer.chat(renamed).status == 200
    seen = scrape(gateway)
    assert seen.values("tollgate_requests_total", model=renamed, status="200") == [2]
    assert f'"{slug}"' not in seen.text
    gateway.admin("DELETE", path)
    assert f'"{renamed}"' not in scrape(gateway).text
    assert customer.chat(renamed).status == 404
    again = gateway.create_endpoint(upstream, slug=renamed)["slug"]
    assert customer.chat(again).status == 200
    assert scrape(gateway).values("tollgate_requests_total", model=renamed) == [1]


def test_the_groups_with_the_most_tokens_of_the_day_have_metrics_of_their_own(upstream):
    with Gateway(metrics_groups=2) as gateway:
        slug = gateway.create_endpoint(upstream)["slug"]
        customers = {}
        for entity in ('most "quoted" \\', "some", "few"):
            group = gateway.create_group(model(slug, [rate("REQUEST", "MINUTE", 3)]), entity=entity)
            customers[entity] = gateway.customer(gateway.mint_key(group))
        most, some, few = customers
        for entity, text, times in [(most, "one two three", 4), (some, "one two", 2), (few, "one", 1)]:
            for _ in range(times):
                customers[entity].chat(slug, text)
        assert customers[some].get("/v1/models").status == 200
        seen = scrape(gateway)

        def of(name):
            found = seen.find(f"tollgate_group_{name}_total")
            return {(labels["external_entity_id"], labels["model"]): value for labels, value in found if value}

        quoted = most.replace("\\", "\\\\").replace('"', '\\"')
        assert of("tokens") == {(quoted, slug): 3 * (3 + 8), (some, slug): 2 * (2 + 8)}
        assert of("requests") == {(quoted, slug): 4, (some, slug): 2, (some, "other"): 1}
        assert of("refusals") == {(quoted, slug): 1}
        # Another group takes the place of one that was shown.
        for _ in range(2):
            assert customers[few].chat(slug, "word " * 30).status == 200
        seen = scrape(gateway)
        assert of("tokens") == {(quoted, slug): 33, (few, slug): 9 + 2 * 38}


def test_webhooks_and_the_disk_are_gauges(gateway, customer, slug, receiver, webhook_to):
    webhook = webhook_to(receiver)
    gate = receiver.hang_next()
    assert customer.chat(slug).status == 200
    gate.reached()
    [lag] = gateway.eventually(
        lambda: scrape(gateway).values("tollgate_webhook_lag_seconds", webhook=webhook.id), lambda found: found != [0]
    )
    assert 0 < lag < 60
    seen = scrape(gateway)
    assert seen.values("tollgate_webhook_dead_letters", webhook=webhook.id) == [0]
    assert seen.values("tollgate_journal_bytes")[0] > 1000 and seen.values("tollgate_disk_free_bytes")[0] > 1e6
    status = gateway.admin("GET", "/v1/gateway/status")
    assert seen.find("tollgate_build_info") == [({"version": status["version"]}, 1)]
    files, most = seen.values("process_open_fds") + seen.values("process_max_fds")
    assert 10 < files < most
    assert seen.values("process_resident_memory_bytes")[0] > 1e6 and seen.values("process_cpu_seconds_total")[0] > 0
    gate.release()


def test_promtool_finds_nothing_to_improve(gateway, customer, slug):
    assert customer.chat(slug).status == 200
    checked = promtool("check", "metrics", input=scrape(gateway).text)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_both_formats_have_the_same_samples(gateway, customer, slug):
    assert customer.chat(slug).status == 200
    text, open_metrics = scrape(gateway), scrape(gateway, headers=[("accept", OPEN_METRICS)])
    assert open_metrics.text.endswith("\n# EOF\n") and "# EOF" not in text.text

    def names(seen):
        """The samples without their values. OpenMetrics writes the limits of buckets as floats."""
        plain = [(name, labels | {"le": labels.get("le", "").removesuffix(".0")}) for name, labels, _ in seen.samples]
        return sorted(map(repr, plain))

    assert names(text) == names(open_metrics)
    for family in open_metrics.help:
        [kind] = re.findall(rf"^# TYPE {family} (\w+)$", open_metrics.text, re.MULTILINE)
        suffix = {"counter": "_total"}.get(kind, "")
        assert f"# HELP {family}{suffix} {open_metrics.help[family]}\n" in text.text
        for unit in re.findall(rf"^# UNIT {family} (\w+)$", open_metrics.text, re.MULTILINE):
            assert family.endswith(f"_{unit}")


def test_the_format_and_the_encoding_are_negotiated(gateway):
    def answer(**headers):
        return gateway.admin_answer("GET", "/metrics", headers=[(k.replace("_", "-"), v) for k, v in headers.items()])

    plain = answer()
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert plain.headers["cache-control"] == "no-store" and "content-encoding" not in plain.headers
    assert answer(accept=OPEN_METRICS).headers["content-type"] == f"{OPEN_METRICS}; charset=utf-8"
    packed = answer(accept_encoding="gzip")
    assert packed.headers["content-encoding"] == "gzip" and len(packed.body) < len(plain.body) / 2
    assert Scrape(gzip.decompress(packed.body).decode()).help == Scrape(plain.body.decode()).help
    head = gateway.admin_answer("HEAD", "/metrics")
    assert head.status == 200 and head.body == b"" and int(head.headers["content-length"]) > 1000


def test_only_operators_who_may_export_metrics_read_them(gateway, key):
    for kind, status in [
        ("WORKSPACE_EXPORT_METRICS", 200),
        ("WORKSPACE_MANAGE_ALL", 200),
        ("WORKSPACE_MANAGE_API_KEYS", 403),
    ]:
        assert gateway.admin_answer("GET", "/metrics", key=gateway.mint_operator(kind)).status == status, kind
    assert gateway.admin_answer("GET", "/metrics", key=None).status == 401
    assert gateway.admin_answer("GET", "/metrics", key=key).status == 403
    assert gateway.admin_answer("POST", "/metrics").status == 405


def test_lines_of_the_log_have_the_model_of_a_refusal_and_the_time_of_the_upstream(own, upstream):
    slug = own.create_endpoint(upstream)["slug"]
    customer = own.customer(own.mint_key(own.create_group(model(slug, [rate("REQUEST", "MINUTE", 1)]))))
    upstream.reply_next(Reply(before_head=Pause(0.05)))
    trace = [("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")]
    body = {"model": slug, "messages": message("hi")}
    assert customer.post(CHAT, body, trace).status == 200
    assert customer.post(CHAT, body, trace).status == 429
    [billed, refused] = [
        json.loads(own.process.wait_line(lambda line, word=word: f'"message":"{word}"' in line))
        for word in ("billed", "refused")
    ]
    assert billed["target_index"] == billed["queue_ms"] == 0
    assert 50 <= billed["upstream_ms"] <= billed["duration_ms"]
    assert (refused["model"], refused["code"]) == (slug, "rate_limit_exceeded")
    assert billed["trace_id"] == refused["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
