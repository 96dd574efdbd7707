//! The `stuut-cache` program.

fn main() {}
