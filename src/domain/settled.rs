//! A billed request, as the journal records it.

use serde::{Deserialize, Serialize};

use super::{
    id::{GroupId, SlugId},
    money::Cost,
    route::Route,
    units::Units,
    usage::{Usage, UsageSource},
};

/// A billed request: the billing event, and the data that replay needs if the group, key or slug has changed or been
/// deleted since. Texts are borrowed, so that a scan over millions of records allocates one path each and no text.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Settled<'a> {
    /// The random 80 bits of the idempotency key. Its time is that of the record.
    pub key_random: u128,
    /// A UUID.
    pub request_id: u128,
    /// The body's `metadata` object, as the customer wrote it.
    pub metadata: Option<&'a str>,
    /// The slug that was called.
    pub model_slug: &'a str,
    /// The slug's stable id, which counters use. It outlives the slug's name.
    pub slug: SlugId,
    /// The group's external id at that time.
    pub external_entity_id: &'a str,
    /// The groups in which it counts: the key's own, and in CASCADING its ancestors.
    pub counted_for: Vec<GroupId>,
    /// The key's public part.
    pub api_key_prefix: &'a str,
    /// The billed tokens.
    pub usage: Usage,
    /// The source of `usage`.
    pub usage_source: UsageSource,
    /// The route that was called.
    pub route: Route,
    /// Whether it was a stream.
    pub streamed: bool,
    /// The HTTP status of the answer.
    pub status: u16,
    /// Time from the request's arrival to its settlement.
    pub duration_ms: u64,
    /// Time from the request's arrival to the first byte of the answer's body.
    pub ttft_ms: Option<u64>,
    /// Choices returned. The mean output is learned per choice.
    pub choices: u64,
    /// The bytes that the prompt's estimate was made from. The ratio is learned from them again after a restart. 0 if
    /// no ratio can be learned.
    pub prompt_bytes: u64,
    /// The cost, fixed at settlement and never recomputed.
    pub cost: Option<Cost>,
    /// The index of the target that answered, among the targets of the endpoint. `None` in records of earlier versions.
    pub target: Option<u16>,
    /// The time that the request waited for a target with free capacity.
    pub queue_ms: u64,
    /// The quantity besides tokens that the route is priced by.
    pub units: Option<Units>,
}

impl Settled<'_> {
    /// The key's own group.
    pub fn group(&self) -> GroupId {
        self.counted_for.first().copied().unwrap_or(GroupId(0))
    }
}
