//! Mails about alerts to operators.
//!
//! * There is no queue. The worker follows the store's list of alerts from a position, which is saved after each mail
//!   (`position`). So each alert is mailed at least once. A mail is repeated if its answer was lost, or if a crash or a
//!   stop came before its position was saved. After a lost answer, exactly the same mail is repeated, and newer alerts
//!   wait for the next one.
//! * Mails that were turned on later begin with the alerts made from then on.
//! * The schedule is `domain::mail_schedule`: at most one mail a minute, which has all alerts that wait. After a failed
//!   attempt, alerts that are older than a day are given up. Each alert is tried at least once.
//! * One thread of its own makes all attempts (`worker`), so a slow server delays nothing else.
//! * The alerts that wait become one mail (`waiting`), whose words are in `text`. `session` brings it to the server.

mod position;
mod registry;
mod session;
#[cfg(test)]
mod testing;
mod text;
mod waiting;
mod worker;

pub use self::{
    registry::{Mail, MailFailure, MailView},
    worker::Mails,
};
