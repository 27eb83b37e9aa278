//! Alerts: the use of a usage limit or a budget has reached a share of what it allows.
//!
//! One alert is made for each group whose use it is, limit or budget, window and share. Whether one is due depends only on the use now
//! and on the last alert about the same rule, never on the use before. So the question may be asked at any time: after
//! each count, after a change of the rule (a lower threshold may be reached at once), and after a start, where it makes
//! up for an alert that a crash has prevented.
//!
//! * An alert is about the highest share that is reached. Lower ones that were jumped over make none.
//! * The shares start anew if the window, the threshold, or the budget's currency is not that of the last alert. A
//!   window is another one if its start differs, even an earlier one. So if the clock is set back, an alert may come
//!   twice, but none is missed.
//! * Use of 0 reaches no share. Anything more reaches all shares of a threshold of 0.
//! * A share is reached exactly if `used × 100 >= threshold × percent`. Nothing is rounded.

use std::{collections::HashMap, fmt, ops::Deref};

use serde::{Deserialize, Serialize};

use super::{
    budget::{Budget, BudgetUnit},
    id::{AlertId, GroupId, SlugId},
    ledger::Rule,
    limit::{Limit, LimitKind, LimitType, Unit},
};

#[cfg(test)]
mod tests;

/// The shares at which alerts are made, in percent: at most [`Shares::MAX`] distinct numbers from 1 to 100, in
/// ascending order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shares(Vec<u8>);

/// The numbers are not valid shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidShares;

impl fmt::Display for InvalidShares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = Shares::MAX;
        write!(f, "must be a list of at most {most} different whole numbers from 1 to 100, such as [75, 90, 100]")
    }
}

impl Shares {
    /// The most shares.
    pub const MAX: usize = 10;

    /// Shares in any order. There may be none, which turns alerts off.
    pub fn new(percents: impl IntoIterator<Item = u64>) -> Result<Self, InvalidShares> {
        let mut shares = Vec::new();
        for percent in percents {
            let share = u8::try_from(percent).ok().filter(|share| (1..=100).contains(share)).ok_or(InvalidShares)?;
            match shares.binary_search(&share) {
                Err(place) if shares.len() < Self::MAX => shares.insert(place, share),
                _ => return Err(InvalidShares),
            }
        }
        Ok(Self(shares))
    }

    /// Reads shares with commas between them, such as `"75, 90, 100"`. An empty text has none.
    pub fn parse(text: &str) -> Result<Self, InvalidShares> {
        if text.trim().is_empty() {
            return Ok(Self(Vec::new()));
        }
        let percents = text.split(',').map(|item| item.trim().parse::<u64>().map_err(|_| InvalidShares));
        Self::new(percents.collect::<Result<Vec<_>, _>>()?)
    }

    /// The highest share of `threshold` that `used` reaches. Both are in the same unit.
    pub fn reached(&self, threshold: u128, used: u128) -> Option<u8> {
        if used == 0 {
            return None;
        }
        let reached = self.0.partition_point(|share| used >= least_use(threshold, *share));
        self.0.get(reached.checked_sub(1)?).copied()
    }
}

impl Default for Shares {
    fn default() -> Self {
        Self(vec![75, 90, 100])
    }
}

impl Deref for Shares {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// The least use that reaches a share of 1 to 100 percent: `threshold × percent / 100`, rounded up. It is at most
/// `threshold`, so it does not overflow.
fn least_use(threshold: u128, percent: u8) -> u128 {
    let percent = u128::from(percent);
    threshold / 100 * percent + (threshold % 100 * percent).div_ceil(100)
}

/// A usage limit or a budget, as a group declares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Declaration {
    /// A usage limit of this model.
    Limit(SlugId, Limit),
    /// A budget.
    Budget(Budget),
}

impl Declaration {
    /// The declaration that an alert about `rule` names. `slug` is that of the account that the rule applies to. `None`
    /// for a rate limit, which has no alerts.
    pub fn of(rule: &Rule, slug: SlugId) -> Option<Self> {
        match rule {
            Rule::Limit(limit) => (limit.kind() == LimitKind::Usage).then_some(Self::Limit(slug, *limit)),
            Rule::Budget(budget) => Some(Self::Budget(*budget)),
        }
    }

    /// The most that may be used: tokens, requests, or 10^-12 units of the budget's currency.
    pub fn threshold(&self) -> u128 {
        match self {
            Self::Limit(_, limit) => limit.threshold.get().into(),
            Self::Budget(budget) => budget.amount.as_cost(),
        }
    }

    /// Which of its group's limits and budgets it is.
    fn place(&self) -> Place {
        match self {
            Self::Limit(slug, limit) => Place::Limit(*slug, limit.limit_type, limit.unit),
            Self::Budget(budget) => Place::Budget(budget.unit),
        }
    }
}

/// Identifies a limit or a budget within its group. A changed threshold, amount or currency does not change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Place {
    /// A group has one usage limit of each type and unit for a model.
    Limit(SlugId, LimitType, Unit),
    /// A group has one budget for each unit.
    Budget(BudgetUnit),
}

/// The use of a limit or budget in one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowUse {
    /// The group whose use it is.
    pub group: GroupId,
    /// The limit or budget.
    pub declaration: Declaration,
    /// The start of the window, in ms of Unix time. For TOTAL, the creation of the group.
    pub window_start_ms: u64,
    /// The amount used of it, in the unit of [`Declaration::threshold`].
    pub used: u128,
}

/// An alert. Its time is that of its record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// Its id.
    pub id: AlertId,
    /// The group whose use it is. It has declared the limit or budget or, in INDEPENDENT, inherited it.
    pub group: GroupId,
    /// The group that has declared it.
    pub declared_by: GroupId,
    /// The name of `group` at the time of the alert.
    pub external_entity_id: String,
    /// The limit or budget at the time of the alert.
    pub declaration: Declaration,
    /// The model's slug at the time of the alert; `None` for a budget.
    pub model_slug: Option<String>,
    /// The amount used, in the unit of [`Declaration::threshold`].
    pub used: u128,
    /// The share that was reached, in percent.
    pub percent: u8,
    /// The start of the window, in ms of Unix time. For TOTAL, the creation of the group.
    pub window_start_ms: u64,
    /// The window's end, in ms of Unix time; `None` for TOTAL.
    pub reset_at_ms: Option<u64>,
}

impl Alert {
    /// The group whose use it is, and the limit or budget.
    pub fn rule(&self) -> (GroupId, Place) {
        (self.group, self.declaration.place())
    }
}

/// The part of a rule's last alert that decides whether another is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastAlert {
    declaration: Declaration,
    window_start_ms: u64,
    percent: u8,
}

impl From<&Alert> for LastAlert {
    fn from(alert: &Alert) -> Self {
        let Alert { declaration, window_start_ms, percent, .. } = *alert;
        Self { declaration, window_start_ms, percent }
    }
}

/// The last alert about each limit and budget of each group.
#[derive(Debug, Clone, Default)]
pub struct LastAlerts(HashMap<(GroupId, Place), LastAlert>);

impl LastAlerts {
    /// The share that an alert is due for, in percent. `None` if there is none, or if it was made already.
    pub fn due(&self, shares: &Shares, of: &WindowUse) -> Option<u8> {
        let share = shares.reached(of.declaration.threshold(), of.used)?;
        let last = self.0.get(&(of.group, of.declaration.place()));
        let is_of_this_window =
            |last: &&LastAlert| last.declaration == of.declaration && last.window_start_ms == of.window_start_ms;
        let is_made = last.filter(is_of_this_window).is_some_and(|last| last.percent >= share);
        (!is_made).then_some(share)
    }

    /// Whether the last alert about this limit or budget is about a later window. Then an earlier window that has ended
    /// has had its alerts.
    pub fn is_beyond(&self, of: &WindowUse) -> bool {
        let last = self.0.get(&(of.group, of.declaration.place()));
        last.is_some_and(|last| last.window_start_ms > of.window_start_ms)
    }

    /// Takes account of an alert that was made.
    pub fn note(&mut self, alert: &Alert) {
        self.0.insert(alert.rule(), alert.into());
    }

    /// Forgets the alerts about groups that no longer exist.
    pub fn keep(&mut self, exists: impl Fn(GroupId) -> bool) {
        self.0.retain(|(group, _), _| exists(*group));
    }
}

impl FromIterator<(GroupId, LastAlert)> for LastAlerts {
    fn from_iter<I: IntoIterator<Item = (GroupId, LastAlert)>>(last: I) -> Self {
        Self(last.into_iter().map(|(group, last)| ((group, last.declaration.place()), last)).collect())
    }
}
