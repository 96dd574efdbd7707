//! Views: which fields of a call a client wants.
