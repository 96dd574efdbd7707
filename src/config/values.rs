//! Values that cannot be wrong: sizes, the origin's address, route patterns, token digests, call
//! statuses.

use std::fmt;

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// More than any machine has; the bound keeps sums of sizes from overflowing.
    pub const MAX: Self = Self(1 << 60);

    /// Reads a number with its unit: `64MiB`, `512 KiB`, `1.5GB`, `100B`.
    ///
    /// A bare number is refused: some would mean bytes by it and some MiB.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong and what to write instead.
    pub fn parse(written: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{written:?} is not a size; write a number with B, KiB, MiB or GiB, e.g. \"64MiB\""
            )
        };
        // The crate also takes `64M` and `64Mb`, which read as something else.
        if !written.ends_with('B') {
            return Err(wrong());
        }
        let size = Self(
            written
                .parse::<bytesize::ByteSize>()
                .map_err(|_| wrong())?
                .0,
        );
        if size > Self::MAX {
            return Err(format!(
                "{written:?} is too large; write at most {}",
                Self::MAX
            ));
        }
        Ok(size)
    }
}

/// The shortest spelling that [`ByteSize::parse`] reads back exactly: `64MiB`, `1025B`.
impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [
            (60, "EiB"),
            (50, "PiB"),
            (40, "TiB"),
            (30, "GiB"),
            (20, "MiB"),
            (10, "KiB"),
        ];
        let exact = units
            .into_iter()
            .find(|(shift, _)| self.0 != 0 && self.0.trailing_zeros() >= *shift);
        match exact {
            Some((shift, unit)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}B", self.0),
        }
    }
}

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
        // What stands before the @ is a secret, so this sentence does not repeat it.
        if written.contains('@') {
            return Err(
                "an origin has no user name or password; write https://host or http://host:port"
                    .to_owned(),
            );
        }
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
        // It drops a fragment without a word.
        let bare = bare && !written.contains('#');
        // `http` takes any digits for a port, and `https://host:` too; nobody listens on 0.
        let port = authority.as_str().len() == authority.host().len()
            || authority.port_u16().is_some_and(|port| port > 0);
        if !bare || !known || !port || authority.host().is_empty() {
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

/// As people write it: `https://api.stuut.ai`.
impl fmt::Display for OriginUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
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
        // A request path has none of these, so such a route would never match.
        if written.contains(|c: char| !c.is_ascii_graphic() || c == '?' || c == '#') {
            return Err(format!(
                "{written:?} is not a route; a route is a path in ASCII, without query, fragment or blanks"
            ));
        }
        matchit::Router::new()
            .insert(written, ())
            .map_err(|error| {
                format!(
                    "{written:?} is not a route ({error}); write one such as \"/v1/calls/{{call_id}}\""
                )
            })?;
        Ok(Self(written.to_owned()))
    }

    /// The pattern as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What stands for a token in a configuration: `stuut-cache digest` prints it.
///
/// The same on every machine, and of no use to whoever reads the file: the token cannot be had
/// from it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// Makes digests of tokens unlike any other use of the same function.
    const CONTEXT: &str = "stuut-cache scope.named 2026-11 digest of a bearer token";

    /// The digest of a token, without the scheme before it.
    #[must_use]
    pub fn of(token: &[u8]) -> Self {
        Self(blake3::derive_key(Self::CONTEXT, token))
    }

    /// Reads 64 hex digits.
    ///
    /// # Errors
    ///
    /// A sentence that says what to write instead.
    pub fn parse(written: &str) -> Result<Self, String> {
        blake3::Hash::from_hex(written).map(|digest| Self(*digest.as_bytes())).map_err(|_| {
            // Not repeated: it may be the token itself.
            "this is not the digest of a token; write the 64 hex digits that \"stuut-cache digest\" prints".to_owned()
        })
    }
}

/// 64 hex digits.
impl fmt::Display for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenDigest({self})")
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
