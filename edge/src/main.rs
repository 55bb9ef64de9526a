//! `leuko-edge`.

fn main() {}
