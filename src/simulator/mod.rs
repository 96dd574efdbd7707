//! A simulated Stuut API.
