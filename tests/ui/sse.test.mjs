// The playground's parser of server-sent events: the same events however the bytes are split.

import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./support/load.mjs";

const { SseParser } = await load("js/playground/sse.js");

const bytesOf = (text) => new TextEncoder().encode(text);

function read(bytes, cuts = []) {
  const parser = new SseParser();
  const ends = [...cuts.filter((cut) => cut <= bytes.length).sort((a, b) => a - b), bytes.length];
  const events = [];
  let from = 0;
  for (const end of ends) {
    events.push(...parser.push(bytes.subarray(from, end)));
    from = end;
  }
  return [...events, ...parser.end()];
}

const datas = (text) => read(bytesOf(text)).map(({ data }) => data);

// Seeded, so that a failure can be repeated.
function randomOf(seed) {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const STREAM = [
  ": a comment\n",
  "data: {\"a\": 1}\n\n",
  "event: live\r\ndata: one\r\ndata: two\r\n\r\n",
  "data:no space\r\rdata:  two spaces\n\n",
  "id: 7\nretry: 10\ndata: ümläut 😀 \u202eRTL\n\n",
  "data\n\n",
  ": ping\n\n\n\ndata: a:b: c\n\n",
  "data: [DONE]\n\n",
].join("");

const EVENTS = [
  { event: "message", data: "{\"a\": 1}" },
  { event: "live", data: "one\ntwo" },
  { event: "message", data: "no space" },
  { event: "message", data: " two spaces" },
  { event: "message", data: "ümläut 😀 \u202eRTL" },
  { event: "message", data: "" },
  { event: "message", data: "a:b: c" },
  { event: "message", data: "[DONE]" },
];

test("events are parsed as the standard says", () => {
  assert.deepEqual(read(bytesOf(STREAM)), EVENTS);
});

test("one split at any byte changes nothing", () => {
  const bytes = bytesOf(STREAM);
  for (let cut = 0; cut <= bytes.length; cut++) assert.deepEqual(read(bytes, [cut]), EVENTS, `cut at ${cut}`);
});

test("a byte at a time changes nothing", () => {
  const bytes = bytesOf(STREAM);
  assert.deepEqual(read(bytes, [...bytes.keys()]), EVENTS);
});

test("random splits of random streams give the same events", () => {
  const parts = ["data: x", "data:", "event: e", ": c", "data: ü😀", "\r", "\n", "\r\n", "\n\n", "\r\n\r\n", "id: 1", ""];
  for (let seed = 1; seed <= 500; seed++) {
    const random = randomOf(seed);
    const bytes = bytesOf(Array.from({ length: 40 }, () => parts[random(parts.length)]).join(""));
    const whole = read(bytes);
    for (let round = 0; round < 6; round++) {
      const cuts = Array.from({ length: random(30) }, () => random(bytes.length + 1));
      assert.deepEqual(read(bytes, cuts), whole, `seed ${seed}, cuts ${cuts}`);
    }
  }
});

test("an event is returned as soon as its empty line has arrived", () => {
  const parser = new SseParser();
  assert.deepEqual(parser.push(bytesOf("data: 1\n")), []);
  assert.deepEqual(parser.push(bytesOf("\n")), [{ event: "message", data: "1" }]);
});

test("an event that ends with CR is returned without waiting for more bytes", () => {
  const parser = new SseParser();
  assert.deepEqual(parser.push(bytesOf("data: 1\r\n\r")), [{ event: "message", data: "1" }]);
  assert.deepEqual(parser.push(bytesOf("\ndata: 2\n\n")), [{ event: "message", data: "2" }]);
});

test("a stream that ends in the middle of an event returns the part that arrived", () => {
  assert.deepEqual(datas("data: 1\n\ndata: 2"), ["1", "2"]);
  assert.deepEqual(datas("data: 1\n\nevent: x\n"), ["1"]);
});

test("a byte order mark is not part of the first field", () => {
  assert.deepEqual(datas("\ufeffdata: 1\n\n"), ["1"]);
});

test("an endless line throws an error instead of filling the memory", () => {
  const parser = new SseParser();
  const piece = bytesOf("x".repeat(1 << 20));
  assert.throws(() => {
    for (let i = 0; i < 32; i++) parser.push(piece);
  }, RangeError);
});
