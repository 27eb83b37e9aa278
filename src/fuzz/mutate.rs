//! Runs a target on its corpus and on mutations of it. The mutations are the same in each run.

use std::{
    env, fs,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::Path,
};

use super::Target;

/// The longest input, in bytes. Longer ones are cut.
const MAX_INPUT: usize = 64 << 10;

/// The seed of the random numbers.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// Bytes that have a meaning in at least one of the parsers.
const SPECIAL: &[u8] = b"\0\t\n\r \"#,.0189:;<=[\\]aefu{}\x7f\x80\xbf\xef\xf8\xff";

pub(super) fn run(name: &str, target: Target, rounds: usize) {
    let corpus = corpus(name);
    assert!(!corpus.is_empty(), "{name} has no corpus");
    let mut random = Random(SEED);
    for input in &corpus {
        attempt(name, target, input);
    }
    for _ in 0..rounds {
        let mut input = random.pick(&corpus).clone();
        for _ in 0..=random.below(4) {
            random.mutate(&mut input, &corpus);
        }
        input.truncate(MAX_INPUT);
        attempt(name, target, &input);
    }
}

/// The inputs in the target's folder, by name.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Runs the target on one input. If it panics, the input is kept in a file, whose path is printed.
fn attempt(name: &str, target: Target, input: &[u8]) {
    let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(input))) else { return };
    let path = env::temp_dir().join(format!("tollgate-{name}-{}", blake3::hash(input).to_hex()));
    fs::write(&path, input).unwrap();
    println!("{name} fails on {}, which is \"{}\"", path.display(), input.escape_ascii());
    resume_unwind(panic);
}

/// xorshift64.
struct Random(u64);

impl Random {
    /// A number below `end`; 0 if that is 0.
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end.max(1)
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// A range within `length`. Short ranges are more likely.
    fn range(&mut self, length: usize) -> Range<usize> {
        let start = self.below(length);
        let longest = *self.pick(&[4, 32, 512, length]);
        start..(start + 1 + self.below(longest)).min(length)
    }

    fn mutate(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let (at, range) = (self.below(input.len() + 1), self.range(input.len()));
        match self.below(7) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => input[at] = *self.pick(SPECIAL),
            2 => input.insert(at, *self.pick(SPECIAL)),
            3 => drop(input.drain(range)),
            4 => {
                let copy = input[range].to_vec();
                drop(input.splice(at..at, copy));
            }
            5 => input.truncate(at),
            _ => {
                let other = self.pick(corpus);
                let from = self.range(other.len());
                let to = if self.below(2) == 0 { at..at } else { range };
                drop(input.splice(to, other[from].iter().copied()));
            }
        }
    }
}
