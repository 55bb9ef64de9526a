//! Sizes of maps whose channels are innermost in memory.

/// Rows, columns and channels of a map, one byte each: `[height][width][channels]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Channels.
    pub channels: usize,
}

impl Shape {
    /// Values in all.
    pub fn len(&self) -> usize {
        self.pixels() * self.channels
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Places in all.
    pub fn pixels(&self) -> usize {
        self.height * self.width
    }
}
