//! How a request was answered: defined once, rendered as the `Cache-Status` field (RFC 9211),
//! the metric label and the log field.
