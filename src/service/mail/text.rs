//! The text of a mail about alerts, for people who read it in a hurry: the subject says what has happened, the body
//! has the figures, the time of the reset and a link to the group.
//!
//! Names may hold any character. Each is made one line (`one_line`), so it can neither add a header nor a line that
//! seems to be ours.

use std::fmt::Write;

use crate::{
    domain::{
        alert::{Alert, Declaration},
        budget::BudgetUnit,
        calendar::{Calendar, Period},
        id::GroupId,
        limit::{LimitType, Unit},
        money::amount_text,
    },
    service::one_line::one_line,
};

/// The most characters of a name.
const LONGEST_NAME: usize = 100;

/// An alert with the names of its groups.
pub(super) struct Item<'a> {
    /// The time of the alert, in Unix ms.
    pub(super) at_ms: u64,
    /// The alert.
    pub(super) alert: &'a Alert,
    /// The name of the group whose use it is, if it has one.
    pub(super) name: Option<String>,
    /// Whether the group still exists, so that the UI has a page about it.
    pub(super) has_page: bool,
    /// The group that has declared the limit or budget, if it is another one and exists.
    pub(super) declared_by: Option<String>,
}

/// The circumstances of a mail.
pub(super) struct Place<'a> {
    /// The calendar of limits and budgets.
    pub(super) calendar: &'a Calendar,
    /// The address of the admin UI, without a slash at its end.
    pub(super) admin_url: Option<&'a str>,
    /// The time now, in Unix ms.
    pub(super) now_ms: u64,
}

/// The text of a mail.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) subject: String,
    pub(super) body: String,
}

/// Writes a mail about these alerts, the oldest first. `left_out` is the number of earlier alerts that it does not
/// show.
pub(super) fn compose(items: &[Item<'_>], left_out: usize, place: &Place<'_>) -> Text {
    let subject = match items {
        [item] if left_out == 0 => item.headline(),
        _ => format!("{} alerts from Tollgate", thousands(&(items.len() + left_out).to_string())),
    };
    // Otherwise a name that looks like an encoded word of a header (RFC 2047) would be decoded by the reader.
    let subject = subject.replace("=?", "= ?");
    let mut body = String::new();
    if left_out > 0 {
        let (count, last) = (thousands(&left_out.to_string()), items.len());
        let _ = writeln!(body, "This mail shows the last {last} alerts. {count} earlier ones are left out; the admin");
        body.push_str("API lists them (GET /v1/gateway/alerts).\n\n");
    }
    for item in items {
        item.describe(&mut body, place);
        body.push('\n');
    }
    let _ =
        writeln!(body, "-- \nTimes are in the time zone {}. Tollgate sends these mails to the", place.calendar.name());
    body.push_str("addresses in its setting smtp.to. Its setting alert_at says at which shares of a\n");
    body.push_str("limit or budget there is an alert.\n");
    Text { subject, body }
}

impl Item<'_> {
    /// `Acme prod has used 90 % of its tokens a day (acme/chat)`.
    fn headline(&self) -> String {
        let Alert { percent, declaration, model_slug, .. } = self.alert;
        let model = model_slug.as_deref().map_or_else(String::new, |slug| format!(" ({})", name(slug)));
        format!("{} has used {percent} % of its {}{model}", self.customer(), allowance(declaration))
    }

    /// The customer's name, for the headline.
    fn customer(&self) -> String {
        let candidates = [self.name.as_deref().unwrap_or_default(), &self.alert.external_entity_id];
        let shown = candidates.iter().map(|candidate| name(candidate)).find(|shown| !shown.is_empty());
        shown.unwrap_or_else(|| group_name(self.alert.group))
    }

    fn describe(&self, out: &mut String, place: &Place<'_>) {
        let Alert { group, external_entity_id, declaration, model_slug, used, percent, .. } = self.alert;
        let (window_start_ms, reset_at_ms) = (self.alert.window_start_ms, self.alert.reset_at_ms);
        let moment = |ms| place.calendar.moment_text(ms);
        let (customer, id) = (self.customer(), name(external_entity_id));
        let _ = writeln!(out, "{}.\n", self.headline());
        let mut row = |label: &str, value: &str| {
            let _ = writeln!(out, "{label:<11}{value}");
        };
        row("Customer:", &if customer == id { customer } else { format!("{customer} ({id})") });
        if let Some(slug) = model_slug {
            row("Model:", &name(slug));
        }
        if let Some(declared_by) = &self.declared_by {
            let kind = if matches!(declaration, Declaration::Limit(..)) { "Limit of:" } else { "Budget of:" };
            row(kind, &name(declared_by));
        }
        row("Used:", &figures(declaration, *used));
        row("Reached:", &moment(self.at_ms));
        let period = match declaration {
            Declaration::Limit(_, limit) => limit.unit.period(),
            Declaration::Budget(budget) => budget.unit.period(),
        };
        match (period, reset_at_ms) {
            (Some(period), Some(reset_at_ms)) => {
                row(label(period), &format!("{} to {}", moment(window_start_ms), moment(reset_at_ms)));
            }
            _ => row("Since:", &moment(window_start_ms)),
        }
        if *percent == 100 && reset_at_ms.is_none_or(|reset_at_ms| reset_at_ms > place.now_ms) {
            let end = reset_at_ms.map_or_else(|| "the amount is raised".to_owned(), moment);
            row("Effect:", &format!("calls that count against it are refused until {end}"));
        }
        if let Some(admin_url) = place.admin_url.filter(|_| self.has_page) {
            row("Group:", &format!("{admin_url}/#/groups/{group}"));
        }
    }
}

/// A name in one line, cut if it is very long.
fn name(text: &str) -> String {
    let line = one_line(text);
    match line.char_indices().nth(LONGEST_NAME) {
        Some((end, _)) => format!("{}\u{2026}", &line[..end]),
        None => line,
    }
}

/// The name of a group that has none that can be shown.
fn group_name(group: GroupId) -> String {
    format!("Group {group}")
}

/// `tokens a day`.
fn allowance(declaration: &Declaration) -> &'static str {
    match declaration {
        Declaration::Limit(_, limit) => match (limit.limit_type, limit.unit) {
            (LimitType::Token, Unit::Day) => "tokens a day",
            (LimitType::Token, Unit::Week) => "tokens a week",
            (LimitType::Token, Unit::Month) => "tokens a month",
            (LimitType::Request, Unit::Day) => "requests a day",
            (LimitType::Request, Unit::Week) => "requests a week",
            (LimitType::Request, Unit::Month) => "requests a month",
            // Rate limits have no alerts.
            (LimitType::Token, Unit::Second | Unit::Minute | Unit::Concurrent) => "tokens",
            (LimitType::Request, Unit::Second | Unit::Minute | Unit::Concurrent) => "requests",
        },
        Declaration::Budget(budget) => match budget.unit {
            BudgetUnit::Day => "daily budget",
            BudgetUnit::Week => "weekly budget",
            BudgetUnit::Month => "monthly budget",
            BudgetUnit::Total => "total budget",
        },
    }
}

fn label(period: Period) -> &'static str {
    match period {
        Period::Day => "Day:",
        Period::Week => "Week:",
        Period::Month => "Month:",
    }
}

/// `902,113 of 1,000,000 tokens (90.2 %)`.
fn figures(declaration: &Declaration, used: u128) -> String {
    let threshold = declaration.threshold();
    let share = match used.saturating_mul(1000).checked_div(threshold) {
        Some(share) => format!(" ({}.{} %)", thousands(&(share / 10).to_string()), share % 10),
        None => String::new(),
    };
    match declaration {
        Declaration::Limit(_, limit) => {
            let unit = match limit.limit_type {
                LimitType::Token => "tokens",
                LimitType::Request => "requests",
            };
            format!("{} of {} {unit}{share}", thousands(&used.to_string()), thousands(&threshold.to_string()))
        }
        Declaration::Budget(budget) => {
            format!("{} of {} {}{share}", money(used), money(threshold), budget.currency)
        }
    }
}

/// An amount in 10^-12 currency units with at least two decimals, and not more than a budget may have.
fn money(amount: u128) -> String {
    let exact = amount_text(amount);
    let (whole, decimals) = exact.split_once('.').unwrap_or((&exact, ""));
    let decimals = decimals.get(..6).unwrap_or(decimals).trim_end_matches('0');
    format!("{}.{decimals:0<2}", thousands(whole))
}

/// Digits with a comma between each three.
fn thousands(digits: &str) -> String {
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        budget::Budget,
        id::{AlertId, SlugId},
        limit::{Limit, Threshold},
        money::{Amount, Currency},
    };

    const DAY_MS: u64 = 86_400_000;
    /// 2026-11-30T00:00:00Z.
    const MIDNIGHT_MS: u64 = 1_795_996_800_000;

    fn limit(limit_type: LimitType, unit: Unit, threshold: u64) -> Declaration {
        Declaration::Limit(SlugId(1), Limit { limit_type, unit, threshold: Threshold::new(threshold).unwrap() })
    }

    fn budget(unit: BudgetUnit, amount: &str) -> Declaration {
        let (currency, amount) = (Currency::parse("EUR").unwrap(), Amount::parse(amount).unwrap());
        Declaration::Budget(Budget { unit, currency, amount })
    }

    fn alert(declaration: Declaration, used: u128, percent: u8) -> Alert {
        let is_total = matches!(declaration, Declaration::Budget(budget) if budget.unit == BudgetUnit::Total);
        Alert {
            id: AlertId(5),
            group: GroupId(7),
            declared_by: GroupId(7),
            external_entity_id: "cust_42".to_owned(),
            declaration,
            model_slug: matches!(declaration, Declaration::Limit(..)).then(|| "acme/chat".to_owned()),
            used,
            percent,
            window_start_ms: MIDNIGHT_MS,
            reset_at_ms: (!is_total).then_some(MIDNIGHT_MS + DAY_MS),
        }
    }

    fn item<'a>(alert: &'a Alert, name: Option<&str>) -> Item<'a> {
        Item { at_ms: MIDNIGHT_MS + 3_600_000, alert, name: name.map(str::to_owned), has_page: true, declared_by: None }
    }

    fn composed(items: &[Item<'_>], left_out: usize) -> Text {
        let place = Place {
            calendar: &Calendar::default(),
            admin_url: Some("https://admin.example"),
            now_ms: MIDNIGHT_MS + 7_200_000,
        };
        compose(items, left_out, &place)
    }

    #[test]
    fn a_mail_about_a_limit_says_who_has_used_how_much_and_until_when() {
        let alert = alert(limit(LimitType::Token, Unit::Day, 1_000_000), 902_113, 90);
        let text = composed(&[item(&alert, Some("Acme prod"))], 0);
        assert_eq!(text.subject, "Acme prod has used 90 % of its tokens a day (acme/chat)");
        let expected = "Acme prod has used 90 % of its tokens a day (acme/chat).\n\n\
            Customer:  Acme prod (cust_42)\n\
            Model:     acme/chat\n\
            Used:      902,113 of 1,000,000 tokens (90.2 %)\n\
            Reached:   Mon 30 Nov 2026, 01:00\n\
            Day:       Mon 30 Nov 2026, 00:00 to Tue 1 Dec 2026, 00:00\n\
            Group:     https://admin.example/#/groups/00000000000000000000000007\n\n\
            -- \n\
            Times are in the time zone UTC. Tollgate sends these mails to the\n\
            addresses in its setting smtp.to. Its setting alert_at says at which shares of a\n\
            limit or budget there is an alert.\n";
        assert_eq!(text.body, expected);
    }

    #[test]
    fn a_mail_about_a_budget_has_amounts_of_money_and_says_that_calls_are_refused() {
        let alert = alert(budget(BudgetUnit::Total, "1500.5"), 1_500_500_000_000_001, 100);
        let text = composed(&[Item { declared_by: Some("Acme".to_owned()), has_page: false, ..item(&alert, None) }], 0);
        assert_eq!(text.subject, "cust_42 has used 100 % of its total budget");
        for line in [
            "Customer:  cust_42\n",
            "Budget of: Acme\n",
            "Used:      1,500.50 of 1,500.50 EUR (100.0 %)\n",
            "Since:     Mon 30 Nov 2026, 00:00\n",
            "Effect:    calls that count against it are refused until the amount is raised\n",
        ] {
            assert!(text.body.contains(line), "{line}: {}", text.body);
        }
        assert!(!text.body.contains("Model") && !text.body.contains("https:"));
    }

    #[test]
    fn a_mail_about_several_alerts_says_how_many_and_what_it_leaves_out() {
        let alerts = [75, 100].map(|percent| alert(limit(LimitType::Request, Unit::Week, 0), 3, percent));
        let items: Vec<_> = alerts.iter().map(|alert| item(alert, Some("Acme"))).collect();
        let text = composed(&items, 0);
        assert_eq!(text.subject, "2 alerts from Tollgate");
        assert_eq!(text.body.matches("has used").count(), 2);
        assert!(text.body.contains("Used:      3 of 0 requests\n"));
        assert!(text.body.contains("refused until Tue 1 Dec 2026, 00:00\n"));
        let text = composed(&items[..1], 1234);
        assert_eq!(text.subject, "1,235 alerts from Tollgate");
        assert!(text.body.starts_with("This mail shows the last 1 alerts. 1,234 earlier ones are left out"));
    }

    #[test]
    fn a_name_stays_one_line_whatever_it_holds() {
        let hostile = "Acme\r\nBcc: all@a.example\r\n\r\nUsed: nothing\u{202e}\u{2028}x";
        let mut alert = alert(limit(LimitType::Token, Unit::Month, 9), 9, 100);
        alert.external_entity_id = "\u{200b}".to_owned();
        alert.model_slug = Some("a\nb".to_owned());
        let text = composed(&[item(&alert, Some(hostile))], 0);
        let who = "Acme Bcc: all@a.example Used: nothing x";
        assert_eq!(text.subject, format!("{who} has used 100 % of its tokens a month (a b)"));
        assert!(text.body.lines().all(|line| !line.starts_with("Bcc") && !line.starts_with("Used: n")));
        let encoded = composed(&[item(&alert, Some("=?utf-8?q?=0d=0aBcc?="))], 0);
        assert!(encoded.subject.starts_with("= ?utf-8?q?=0d=0aBcc?= has used"));
        let nameless = composed(&[item(&alert, Some("\t"))], 0);
        assert!(nameless.subject.starts_with("Group 00000000000000000000000007 has used"));
        let long = composed(&[item(&alert, Some(&"\u{e9}".repeat(5000)))], 0);
        assert!(long.subject.starts_with(&format!("{}\u{2026} has", "\u{e9}".repeat(100))));
    }

    #[test]
    fn numbers_have_separators() {
        for (digits, shown) in [("0", "0"), ("999", "999"), ("1000", "1,000"), ("1234567", "1,234,567")] {
            assert_eq!(thousands(digits), shown);
        }
        for (amount, shown) in [(0, "0.00"), (1, "0.00"), (1_000_000, "0.000001"), (1_234_567_000_000_000, "1,234.567")]
        {
            assert_eq!(money(amount), shown);
        }
    }
}
