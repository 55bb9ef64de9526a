//! Paths and helpers of the tests that cross crates.
