//! The alerts that wait, and the mail that they become.

use std::{collections::VecDeque, time::SystemTime};

use lettre::{
    Message,
    message::header::{ContentType, HeaderName, HeaderValue, MIME_VERSION_1_0},
};

use super::text::{self, Item, Place, Text};
use crate::{
    config::Smtp,
    domain::id::GroupId,
    service::{
        catalog::{Catalog, GroupNode},
        core::Core,
    },
    store::{Store, StoreError, StoredAlert},
};

/// The most alerts that a mail describes.
const DESCRIBED: usize = 100;

/// The alerts that wait. There is at least one.
pub(super) struct Waiting {
    /// The newest of them, at most [`DESCRIBED`], the oldest first.
    alerts: VecDeque<StoredAlert>,
    /// The number of those before them.
    left_out: usize,
    /// The first one's record.
    first: u64,
    /// The last one's record.
    through: u64,
}

impl Waiting {
    /// Reads the alerts after the record `after`, up to the record `through`.
    pub(super) fn read(store: &Store, after: u64, through: u64) -> Result<Self, StoreError> {
        let mut waiting = Self { alerts: VecDeque::new(), left_out: 0, first: 0, through: after };
        for alert in store.alerts_after(after)? {
            let alert = alert?;
            if alert.seq > through {
                break;
            }
            if waiting.alerts.is_empty() {
                waiting.first = alert.seq;
            }
            waiting.through = alert.seq;
            if waiting.alerts.len() == DESCRIBED {
                waiting.alerts.pop_front();
                waiting.left_out += 1;
            }
            waiting.alerts.push_back(alert);
        }
        Ok(waiting)
    }

    /// The number of alerts.
    pub(super) fn count(&self) -> usize {
        self.alerts.len() + self.left_out
    }

    /// The last one's record.
    pub(super) fn through(&self) -> u64 {
        self.through
    }

    /// The mail about them. The same alerts get the same Message-ID again, so mail servers and readers can recognize a
    /// mail that was repeated.
    pub(super) fn mail(&self, smtp: &Smtp, core: &Core) -> Result<Message, lettre::error::Error> {
        let catalog = core.catalog.load();
        let items: Vec<_> = self.alerts.iter().map(|stored| item(&catalog, stored)).collect();
        let admin_url = core.config.admin_url.as_ref().map(|url| url.as_str().trim_end_matches('/'));
        let place = Place { calendar: &core.config.time_zone, admin_url, now_ms: core.now_ms() };
        let Text { subject, body } = text::compose(&items, self.left_out, &place);
        let last = self.alerts.back().map_or_else(String::new, |stored| stored.alert.id.to_string());
        let id = format!("<{}-{last}@{}>", self.first, smtp.from.email.domain());
        let automatic = HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned());
        let mail = Message::builder().from(smtp.from.clone()).date(SystemTime::now()).message_id(Some(id));
        let mail = smtp.to.iter().fold(mail, |mail, recipient| mail.to(recipient.clone()));
        let mail = mail.subject(subject).raw_header(automatic).header(MIME_VERSION_1_0);
        mail.header(ContentType::TEXT_PLAIN).body(body)
    }
}

fn item<'a>(catalog: &Catalog, stored: &'a StoredAlert) -> Item<'a> {
    let StoredAlert { alert, at_ms, .. } = stored;
    let node = |group: GroupId| catalog.groups().get(&group);
    let name = |node: &GroupNode| node.group().name.clone();
    let declared_by = node(alert.declared_by).filter(|_| alert.declared_by != alert.group);
    Item {
        at_ms: *at_ms,
        alert,
        name: node(alert.group).and_then(|node| name(node)),
        has_page: node(alert.group).is_some(),
        declared_by: declared_by.map(|node| name(node).unwrap_or_else(|| node.group().external_entity_id.clone())),
    }
}

#[cfg(test)]
mod tests {
    use lettre::{Address, message::Mailbox};

    use super::*;
    use crate::config::{MailSecurity, MailServer};

    #[test]
    fn no_name_adds_a_header_to_a_mail() {
        let mailbox =
            |name: &str, user: &str| Mailbox::new(Some(name.to_owned()), Address::new(user, "a.example").unwrap());
        let server =
            MailServer { security: MailSecurity::None, host: "localhost".to_owned(), port: 25, credentials: None };
        let smtp = Smtp { server, from: mailbox("T\u{fc}r", "from"), to: vec![mailbox("A, B", "to")] };
        let mut alert = crate::domain::testing::alert();
        alert.external_entity_id = "x\r\nBcc: everyone@a.example\r\n\r\n.\r\nMAIL FROM:<a>".to_owned();
        alert.model_slug = Some("\u{1f600}/".repeat(60));
        let waiting =
            Waiting { alerts: [StoredAlert { seq: 9, at_ms: 5, alert }].into(), left_out: 0, first: 9, through: 9 };
        let directory = tempfile::tempdir().unwrap();
        let config = crate::config::Config { data_dir: directory.path().to_owned(), ..Default::default() };
        let booted = crate::service::boot(config, None).unwrap();
        let mail = waiting.mail(&smtp, &booted.gateway.core).unwrap().formatted();
        booted.close();
        let mail = String::from_utf8(mail).unwrap();
        assert!(mail.is_ascii());
        let (head, body) = mail.split_once("\r\n\r\n").unwrap();
        let names =
            head.split("\r\n").filter(|line| !line.starts_with(' ')).map(|line| line.split(':').next().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort_unstable();
        let expected = [
            "Auto-Submitted",
            "Content-Transfer-Encoding",
            "Content-Type",
            "Date",
            "From",
            "MIME-Version",
            "Message-ID",
            "Subject",
            "To",
        ];
        assert_eq!(names, expected);
        assert!(head.contains("Message-ID: <9-00000000000000000000000001@a.example>"), "{head}");
        assert!(body.split("\r\n").all(|line| line.len() <= 998 && !line.starts_with("Bcc")));
        assert!(!body.replace("\r\n", "").contains(['\r', '\n']));
    }
}
