//! `leuko-host`.

fn main() {}
