//! Scores of findings against the truth.
