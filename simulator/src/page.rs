//! The list of calls, a page at a time.

use jiff::Timestamp;
use serde_json::Value;

use crate::answer::Refusal;
use crate::call_id::CallId;
use crate::json_object::json_object;
use crate::{Organisation, Simulator, call};

/// Default of `limit`, the number of calls on a page.
const DEFAULT_PAGE: usize = 20;

/// Maximum of `limit`.
const MAX_PAGE: usize = 100;

impl Simulator {
    /// A page of the organisation's ordinary calls that are created, by number.
    pub(crate) fn page(
        &self,
        organisation: &Organisation,
        query: &str,
        now: Timestamp,
    ) -> Result<Value, Refusal> {
        let malformed = |sentence: &str| Refusal::Malformed(sentence.to_owned());
        let (mut limit, mut after) = (DEFAULT_PAGE, 0);
        for option in query.split('&') {
            match option.split_once('=') {
                Some(("limit", number)) => {
                    limit = number
                        .parse()
                        .ok()
                        .filter(|limit| (1..=MAX_PAGE).contains(limit))
                        .ok_or_else(|| malformed("limit: a number from 1 to 100 is expected"))?;
                }
                Some(("cursor", cursor)) => {
                    after = CallId::parse(cursor)
                        .filter(|id| *id == CallId::plain(organisation.name(), id.number))
                        .ok_or_else(|| malformed("cursor: not one of this list"))?
                        .number;
                }
                _ => {}
            }
        }
        let context = self.context(organisation.name(), now);
        let mut calls: Vec<_> = (after.saturating_add(1)..=self.0.options.calls)
            .filter_map(|number| self.current(CallId::plain(organisation.name(), number), now))
            .take(limit + 1)
            .collect();
        // One more than `limit` shows whether there is a next page.
        let has_more = calls.len() > limit;
        calls.truncate(limit);
        let next = calls
            .last()
            .filter(|_| has_more)
            .map(|last| last.id.to_string());
        let data: Vec<_> = calls
            .iter()
            .map(|call| call::listed(&context, &call.id, &call.phase))
            .collect();
        Ok(
            json_object! { "object": "list", "data": data, "has_more": has_more, "next_cursor": next },
        )
    }
}
