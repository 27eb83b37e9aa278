//! Counts refused keys by client address, and throttles guesses of operator keys.
//!
//! Only wrong keys are counted, and on the admin listener only wrong keys are throttled, so no one can lock an operator
//! out. On the inference listener they are only counted, since all refused keys get the same answer there.

use std::{
    cmp::Reverse,
    collections::{HashMap, VecDeque},
    fmt,
    net::IpAddr,
    time::Duration,
};

use leaky_bucket::RateLimiter;
use parking_lot::Mutex;
use tracing::warn;

/// The most wrong operator keys from one address in a minute that get an answer; further ones are throttled.
const WRONG_KEYS: usize = 10;

/// The operator gets a notice if this many wrong operator keys come from one address within this time.
pub const MANY: usize = 10;
const RECENT_MS: u64 = 60 * 60 * 1000;

/// The most addresses that are stored. When there are more, the older half is dropped. The throttle does not stop an
/// attacker with so many addresses anyway.
const MAX_SOURCES: usize = 10_000;

/// The refused keys, by address.
#[derive(Default)]
pub struct RefusedKeys(Mutex<Sources>);

#[derive(Default)]
struct Sources {
    by_network: HashMap<Network, Source>,
    /// The number of refused keys from all addresses.
    refused: u64,
}

/// An IPv4 address, or the /64 of an IPv6 address, since one client usually controls a whole /64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network(IpAddr);

impl Network {
    fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
            v4 => v4,
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(v4) => v4.fmt(f),
            IpAddr::V6(v6) => write!(f, "{v6}/64"),
        }
    }
}

/// The refused keys of one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedFrom {
    /// The address.
    pub network: Network,
    /// The number of wrong operator keys.
    pub admin: u64,
    /// The number of inference requests without a valid key.
    pub inference: u64,
    /// The time of the first one, in Unix ms.
    pub first_at_ms: u64,
    /// The time of the last one, in Unix ms.
    pub last_at_ms: u64,
}

struct Source {
    counted: RefusedFrom,
    /// The number of its last refused key, counted over all addresses. It orders addresses within a millisecond.
    last: u64,
    guesses: Option<Box<Guesses>>,
}

/// The state of an address that sent wrong operator keys.
struct Guesses {
    limiter: RateLimiter,
    /// The times of the last [`MANY`] wrong keys, in Unix ms.
    latest: VecDeque<u64>,
    /// The time of the last log line about this address, in Unix ms.
    logged_at_ms: Option<u64>,
}

impl Guesses {
    fn new() -> Self {
        let limiter = RateLimiter::builder()
            .max(WRONG_KEYS)
            .initial(WRONG_KEYS)
            .refill(WRONG_KEYS)
            .interval(Duration::from_secs(60))
            .build();
        Self { limiter, latest: VecDeque::with_capacity(MANY), logged_at_ms: None }
    }

    fn are_many(&self, now_ms: u64) -> bool {
        self.latest.len() == MANY && self.latest.front().is_some_and(|&first_ms| is_recent(first_ms, now_ms))
    }
}

fn is_recent(at_ms: u64, now_ms: u64) -> bool {
    now_ms.saturating_sub(at_ms) < RECENT_MS
}

/// The outcome of a wrong operator key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guess {
    /// It gets the answer that the key is wrong.
    Answered,
    /// It exceeded the limit.
    Throttled,
    /// It exceeded the limit and is due for a log line.
    ThrottledAnew,
}

impl RefusedKeys {
    fn count<T>(&self, network: Network, now_ms: u64, count: impl FnOnce(&mut Source) -> T) -> T {
        let mut sources = self.0.lock();
        let Sources { by_network, refused } = &mut *sources;
        *refused += 1;
        if by_network.len() >= MAX_SOURCES && !by_network.contains_key(&network) {
            let mut lasts: Vec<_> = by_network.values().map(|source| source.last).collect();
            let (_, &mut median, _) = lasts.select_nth_unstable(MAX_SOURCES / 2);
            by_network.retain(|_, source| source.last > median);
        }
        let source = by_network.entry(network).or_insert_with(|| {
            let counted = RefusedFrom { network, admin: 0, inference: 0, first_at_ms: now_ms, last_at_ms: now_ms };
            Source { counted, last: 0, guesses: None }
        });
        (source.last, source.counted.last_at_ms) = (*refused, now_ms);
        count(source)
    }

    /// Counts a wrong key on the admin listener at `now_ms` (Unix ms). Returns false if the address has sent too many.
    pub fn allows_another(&self, address: IpAddr, now_ms: u64) -> bool {
        let network = Network::of(address);
        let guess = self.guess(network, now_ms);
        if guess == Guess::ThrottledAnew {
            warn!(address = %network, "too many wrong operator keys from this address; more are refused for now");
        }
        guess == Guess::Answered
    }

    /// Counts a request on the inference listener without a valid key, at `now_ms` (Unix ms).
    pub fn count_customer(&self, address: IpAddr, now_ms: u64) {
        self.count(Network::of(address), now_ms, |source| source.counted.inference += 1);
    }

    fn guess(&self, network: Network, now_ms: u64) -> Guess {
        self.count(network, now_ms, |source| {
            source.counted.admin += 1;
            let guesses = source.guesses.get_or_insert_with(|| Box::new(Guesses::new()));
            if guesses.latest.len() == MANY {
                guesses.latest.pop_front();
            }
            guesses.latest.push_back(now_ms);
            if guesses.limiter.try_acquire(1) {
                return Guess::Answered;
            }
            if guesses.logged_at_ms.is_some_and(|logged_ms| is_recent(logged_ms, now_ms)) {
                return Guess::Throttled;
            }
            guesses.logged_at_ms = Some(now_ms);
            Guess::ThrottledAnew
        })
    }

    /// The refused keys since the start, of the `most` latest addresses, the latest first.
    pub fn latest(&self, most: usize) -> Vec<RefusedFrom> {
        let mut latest = self.latest_of(|_| true);
        latest.truncate(most);
        latest
    }

    /// The refused keys of the addresses that `is_wanted` selects, the latest address first.
    fn latest_of(&self, is_wanted: impl Fn(&Source) -> bool) -> Vec<RefusedFrom> {
        let sources = self.0.lock();
        let mut found: Vec<_> = sources.by_network.values().filter(|source| is_wanted(source)).collect();
        found.sort_unstable_by_key(|source| Reverse(source.last));
        found.into_iter().map(|source| source.counted.clone()).collect()
    }

    /// The addresses that have recently sent many ([`MANY`]) wrong operator keys, the latest first.
    pub(in crate::service) fn guessers(&self, now_ms: u64) -> Vec<Network> {
        let guessers = self.latest_of(|source| source.guesses.as_ref().is_some_and(|guesses| guesses.are_many(now_ms)));
        guessers.into_iter().map(|from| from.network).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(number: u32) -> Network {
        Network(IpAddr::V4(number.into()))
    }

    #[test]
    fn all_ipv6_addresses_of_a_64_count_as_one() {
        let of = |text: &str| Network::of(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!((of("::ffff:10.0.0.7"), of("10.0.0.7")), ("10.0.0.7".to_owned(), "10.0.0.7".to_owned()));
    }

    #[test]
    fn the_first_ten_guesses_are_answered_and_the_rest_are_logged_once() {
        let refused = RefusedKeys::default();
        let guesses: Vec<_> = (0..20).map(|_| refused.guess(network(1), 5)).collect();
        assert_eq!(guesses[..10], [Guess::Answered; 10]);
        assert_eq!((guesses[10], &guesses[11..]), (Guess::ThrottledAnew, &[Guess::Throttled; 9][..]));
        assert_eq!(refused.guess(network(1), 5 + RECENT_MS), Guess::ThrottledAnew, "it is logged again an hour later");
        assert_eq!(refused.guess(network(2), 5), Guess::Answered, "other addresses are not throttled");
    }

    #[test]
    fn many_guesses_within_an_hour_are_reported_and_few_are_not() {
        let refused = RefusedKeys::default();
        let now_ms = 10 * RECENT_MS;
        for number in (0..30).rev() {
            refused.guess(network(1), now_ms - number * RECENT_MS / 9);
            refused.guess(network(2), now_ms - number * RECENT_MS / 10);
            refused.count(network(3), now_ms - number, |source| source.counted.inference += 1);
        }
        assert_eq!(refused.guessers(now_ms), [network(2)]);
        assert!(refused.guessers(now_ms + RECENT_MS).is_empty());
    }

    #[test]
    fn memory_is_bounded_and_the_latest_addresses_are_kept() {
        let refused = RefusedKeys::default();
        let all = 3 * MAX_SOURCES as u32;
        for number in 0..all {
            refused.guess(network(number), 1);
            let sources = refused.0.lock();
            assert!(sources.by_network.len() <= MAX_SOURCES);
            assert!(sources.by_network.contains_key(&network(number.saturating_sub(1000))));
        }
        refused.guess(network(7), 1);
        let latest = refused.latest(usize::MAX);
        let order: Vec<_> = latest.iter().take(3).map(|from| from.network).collect();
        assert_eq!((order, latest[0].admin), (vec![network(7), network(all - 1), network(all - 2)], 1));
    }
}
