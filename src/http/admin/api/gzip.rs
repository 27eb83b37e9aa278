//! Responses that are compressed if the client accepts gzip.

use std::io::{self, Write};

use actix_web::{
    HttpRequest,
    http::header::{AcceptEncoding, Encoding, Header},
};
use flate2::{Compression, write::GzEncoder};

/// Whether the client accepts gzip.
pub(in crate::http) fn accepts_gzip(request: &HttpRequest) -> bool {
    let forms = [Encoding::gzip(), Encoding::identity()];
    let accepted = AcceptEncoding::parse(request).ok();
    accepted.and_then(|accepted| accepted.negotiate(forms.iter())) == Some(Encoding::gzip())
}

/// Compresses a whole body.
pub(in crate::http) fn gzip(content: &[u8], level: Compression) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), level);
    encoder.write_all(content)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use actix_web::{http::header::ACCEPT_ENCODING, test::TestRequest};

    use super::*;

    #[test]
    fn a_client_that_accepts_gzip_gets_gzip() {
        let accepts = |accepted: &str| {
            accepts_gzip(&TestRequest::get().insert_header((ACCEPT_ENCODING, accepted)).to_http_request())
        };
        for accepted in ["gzip", "gzip, deflate, br, zstd", "br;q=1.0, gzip;q=0.5", "identity;q=0.5, gzip;q=0.8"] {
            assert!(accepts(accepted), "{accepted}");
        }
        for accepted in ["", "br", "gzip;q=0", "gzip;q=0.0, br", "identity, gzip;q=0", "*;q=0", "nonsense;;"] {
            assert!(!accepts(accepted), "{accepted}");
        }
        assert!(!accepts_gzip(&TestRequest::get().to_http_request()));
    }
}
