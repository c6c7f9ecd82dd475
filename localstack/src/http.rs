//! Bodies and answers of HTTP, whoever they are for.

use std::io::Read as _;

use flate2::read::MultiGzDecoder;
use http_body_util::Full;
use hyper::Response;
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::json;

/// In bytes; more than any request has.
pub(crate) const LONGEST_BODY: usize = 4 << 20;

pub(crate) type Answer = Response<Full<Bytes>>;

pub(crate) fn build_answer(status: u16, content_type: &str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(content_type) = HeaderValue::from_str(content_type) {
        answer.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    answer
}

/// An error that is not one of AWS's.
pub(crate) fn refuse_request(status: u16, message: &str) -> Answer {
    build_answer(status, "application/json", json!({ "error": message }).to_string())
}

/// The body as it was before the client compressed it: SDKs gzip `PutMetricData` from 10 KiB on, in every protocol.
pub(crate) fn decode_body(headers: &HeaderMap, mut body: Bytes) -> Result<Bytes, &'static str> {
    let encodings = headers.get_all(CONTENT_ENCODING).iter();
    let encodings: Vec<&str> = encodings.filter_map(|value| value.to_str().ok()).collect();
    // Several are undone in the opposite order (RFC 9110, section 8.4).
    for encoding in encodings.iter().flat_map(|value| value.split(',')).map(str::trim).rev() {
        body = match encoding.to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => {
                let most = LONGEST_BODY as u64 + 1;
                let mut plain = Vec::new();
                let read = MultiGzDecoder::new(&body[..]).take(most).read_to_end(&mut plain);
                read.map_err(|_| "the body is not gzip, though its Content-Encoding says so")?;
                if plain.len() > LONGEST_BODY {
                    return Err("the body is too long");
                }
                plain.into()
            }
            "" | "identity" => body,
            _ => return Err("the Content-Encoding is not supported: use gzip or none"),
        };
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, plain).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn bodies_are_decoded_as_their_encoding_says() {
        let decoded = |encoding: Option<&'static str>, body: Vec<u8>| {
            let encoding = encoding.map(|text| (CONTENT_ENCODING, HeaderValue::from_static(text)));
            decode_body(&HeaderMap::from_iter(encoding), body.into())
        };
        let plain = b"Action=PutMetricData".to_vec();
        assert_eq!(decoded(None, plain.clone()).unwrap(), plain);
        assert_eq!(decoded(Some("identity"), plain.clone()).unwrap(), plain);
        assert_eq!(decoded(Some("GZIP"), gzip(&plain)).unwrap(), plain);
        assert_eq!(decoded(Some("gzip, gzip"), gzip(&gzip(&plain))).unwrap(), plain);
        let two_members = [gzip(&plain[..5]), gzip(&plain[5..])].concat();
        assert_eq!(decoded(Some("gzip"), two_members).unwrap(), plain);
        assert!(decoded(Some("gzip"), plain.clone()).is_err());
        assert!(decoded(Some("gzip"), gzip(&plain)[..12].to_vec()).is_err());
        assert!(decoded(Some("br"), plain).is_err());
        assert_eq!(decoded(Some("gzip"), gzip(&vec![0; LONGEST_BODY + 1])), Err("the body is too long"));
        assert_eq!(decoded(Some("gzip"), gzip(&vec![0; LONGEST_BODY])).unwrap().len(), LONGEST_BODY);
    }
}
