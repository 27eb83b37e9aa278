//! Writes a complete response as bytes, for a request that is not passed on to actix-http.

use std::fmt::Write;

use actix_http::StatusCode;
use bytes::Bytes;
use jiff::{Timestamp, fmt::rfc2822::DateTimePrinter};

/// A complete HTTP/1.1 response with a JSON body, which closes the connection.
pub(in crate::http) fn refusal(status: StatusCode, headers: &[(&str, &str)], body: &str) -> Bytes {
    let mut answer = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\ncontent-type: application/json\r\nconnection: close\r\n",
        body.len()
    );
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&Timestamp::now());
    let date = date.iter().map(|date| ("date", date.as_str()));
    for (name, value) in headers.iter().copied().chain(date) {
        let _ = write!(answer, "{name}: {value}\r\n");
    }
    answer.push_str("\r\n");
    answer.push_str(body);
    answer.into()
}
