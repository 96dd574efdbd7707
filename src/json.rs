//! JSON as bytes: finding where values begin and end without building them.
