//! What hyper is given in place of a head that was refused.
//!
//! It is a request that no client can make, since its method is none. So the refusal takes the
//! way of every answer: behind those to the requests before it, counted, logged, and with the
//! same document.

use http::Method;
use http::request::Parts;

use super::super::Refusal;
use crate::label::Label as _;

/// A token to hyper, but no method to [`Framing`](super::Framing).
const METHOD: &str = "!";

/// A head that is answered with this refusal.
#[must_use]
pub fn stand_in(why: Refusal) -> Vec<u8> {
    format!("{METHOD} /{} HTTP/1.1\r\nhost: -\r\n\r\n", why.as_str()).into_bytes()
}

/// Whether a request of this method stands in for one that was refused.
#[must_use]
pub fn is_stand_in(method: &Method) -> bool {
    method.as_str() == METHOD
}

/// The refusal that this head stands in for. Over HTTP/2 a client can send one too, and has it
/// refused.
pub(in crate::request) fn stood_in_for(head: &Parts) -> Option<Refusal> {
    if !is_stand_in(&head.method) {
        return None;
    }
    let slug = head.uri.path().trim_start_matches('/');
    let named = Refusal::ALL.iter().find(|why| why.as_str() == slug);
    Some(*named.unwrap_or(&Refusal::RequestLine))
}
