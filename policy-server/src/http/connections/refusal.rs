//! Replies to what never became a request: a head that cannot be read, is too long, or too slow.
//!
//! The HTTP library answers such heads itself, with a status and nothing else. Callers are promised an error object
//! and a request id on every reply, so its bytes are replaced on their way out.

use crate::error::{ApiError, Code};
use crate::http::wire::ErrorBody;
use axum::http::StatusCode;

/// Every reply of a handler has this header, none of the library has.
const OWN: &[u8] = b"x-request-id: ";

/// What a reply of the HTTP library means; `None` for any other bytes.
pub(super) fn translate(bytes: &[u8]) -> Option<(Code, &'static str)> {
    let status = bytes.strip_prefix(b"HTTP/1.1 ").or_else(|| bytes.strip_prefix(b"HTTP/1.0 "))?.get(..3)?;
    let meaning = match status {
        b"400" => (Code::InvalidHttp, "the head of the request is not valid HTTP/1.1"),
        b"414" => (Code::UriTooLong, "the path of the request is too long"),
        b"431" => (Code::HeadTooLarge, "the head of the request is too long or has too many headers"),
        _ => return None,
    };
    let is_bare = bytes.ends_with(b"\r\n\r\n") && !bytes.windows(OWN.len()).any(|window| window == OWN);
    is_bare.then_some(meaning)
}

/// A whole reply, after which the connection ends.
pub(super) fn reply(code: Code, message: &str) -> Vec<u8> {
    let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let body = ErrorBody::of(&ApiError::new(code, message)).text();
    let id = crate::ids::fresh();
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nx-request-id: {id}\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bare_replies_of_the_library_are_replaced() {
        let bare =
            b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(translate(bare).map(|(code, _)| code), Some(Code::HeadTooLarge));
        let own = b"HTTP/1.1 400 Bad Request\r\nx-request-id: a\r\ncontent-length: 0\r\n\r\n";
        for other in
            [&own[..], b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n{}", b"", b"HTTP/1.1 4"]
        {
            assert_eq!(translate(other), None, "{}", String::from_utf8_lossy(other));
        }
    }

    #[test]
    fn a_refusal_is_a_whole_reply() {
        let reply = String::from_utf8(reply(Code::UriTooLong, "too long")).unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("HTTP/1.1 414 URI Too Long\r\n") && head.contains("x-request-id: "),
            "{head}"
        );
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
        assert!(body.contains("\"uri_too_long\""), "{body}");
    }
}
