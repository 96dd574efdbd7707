//! Values that cannot be wrong: sizes, the origin's address, route patterns, call statuses.

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// The origin server: `http` or `https`, host and port, nothing behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginUrl {
    scheme: http::uri::Scheme,
    authority: http::uri::Authority,
}

impl OriginUrl {
    /// Reads `https://host[:port]`.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong and what to write instead.
    pub fn parse(written: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{written:?} is not an origin; write https://host or http://host:port, without a path"
            )
        };
        let parts = written
            .parse::<http::Uri>()
            .map_err(|_| wrong())?
            .into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(wrong());
        };
        let bare = parts
            .path_and_query
            .is_none_or(|rest| rest.as_str() == "/" || rest.as_str().is_empty());
        let known = scheme == http::uri::Scheme::HTTP || scheme == http::uri::Scheme::HTTPS;
        if !bare || !known || authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(wrong());
        }
        Ok(Self { scheme, authority })
    }

    /// `http` or `https`.
    #[must_use]
    pub fn scheme(&self) -> &http::uri::Scheme {
        &self.scheme
    }

    /// Host, and port where one was written.
    #[must_use]
    pub fn authority(&self) -> &http::uri::Authority {
        &self.authority
    }
}

/// A `matchit` pattern: `/v1/calls/{call_id}` or `/x/{*rest}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutePattern(String);

impl RoutePattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong with it.
    pub fn parse(written: &str) -> Result<Self, String> {
        if !written.starts_with('/') {
            return Err(format!(
                "{written:?} is not a route; a route begins with /, e.g. \"/v1/calls/{{call_id}}\""
            ));
        }
        matchit::Router::new()
            .insert(written, ())
            .map_err(|e| format!("{written:?} is not a route: {e}"))?;
        Ok(Self(written.to_owned()))
    }

    /// The pattern as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The `status` of a call, as the API documents it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the API's own words")]
pub enum CallStatus {
    PendingApproval,
    Queued,
    Registered,
    Initiated,
    Ringing,
    Canceled,
    InProgress,
    Completed,
    Busy,
    NoAnswer,
    Failed,
}

impl CallStatus {
    /// All eleven.
    pub const ALL: [Self; 11] = [
        Self::PendingApproval,
        Self::Queued,
        Self::Registered,
        Self::Initiated,
        Self::Ringing,
        Self::Canceled,
        Self::InProgress,
        Self::Completed,
        Self::Busy,
        Self::NoAnswer,
        Self::Failed,
    ];

    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PendingApproval => "pending_approval",
            Self::Queued => "queued",
            Self::Registered => "registered",
            Self::Initiated => "initiated",
            Self::Ringing => "ringing",
            Self::Canceled => "canceled",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Busy => "busy",
            Self::NoAnswer => "no_answer",
            Self::Failed => "failed",
        }
    }

    /// Whether a call in this status has ended.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Completed | Self::Canceled | Self::Busy | Self::NoAnswer | Self::Failed
        )
    }
}
