//! Frames of an open source, all of one size, for a command that must not wait for ever.

use std::time::{Duration, Instant};

use shared::geometry::Size;
use shared::pixels::RgbView;

use super::CalibrateError;
use crate::frame::Frame;
use crate::source::{FrameSource, Received, SourceIdentity, SourceKind};
use field::FieldError;

/// Longest wait for one frame before looking around.
const WAIT: Duration = Duration::from_millis(250);

/// First frames of a camera that are not looked at: it takes some to follow its controls.
const SETTLING: u32 = 5;

/// The frames.
pub(super) struct Frames {
    source: Box<dyn FrameSource>,
    frame: Frame,
    size: Size,
    patience: Duration,
    /// The first frame is filled and was not given yet.
    first: bool,
    /// Pictures of a folder that have another size than its first.
    pub(super) other_sizes: u32,
}

impl Frames {
    /// Waits for the first frame, which says the size; `patience` is how long the source may be silent.
    pub(super) fn new(
        source: Box<dyn FrameSource>,
        patience: Duration,
    ) -> Result<Self, CalibrateError> {
        let mut frames = Self {
            source,
            frame: Frame::new(),
            size: Size::new(0, 0),
            patience,
            first: false,
            other_sizes: 0,
        };
        let settling = match frames.identity().kind {
            SourceKind::Camera => SETTLING,
            _ => 0,
        };
        for _ in 0..=settling {
            if !frames.receive()? {
                return Err(CalibrateError::Nothing {
                    source_name: frames.identity().name.clone(),
                });
            }
        }
        frames.size = frames.frame.size;
        frames.first = true;
        Ok(frames)
    }

    pub(super) fn identity(&self) -> &SourceIdentity {
        self.source.identity()
    }

    /// Of every frame.
    pub(super) fn size(&self) -> Size {
        self.size
    }

    /// Frames that were damaged so far.
    pub(super) fn damaged(&self) -> u64 {
        self.source.counters().damaged.total()
    }

    /// The next frame, and its bytes as it came, if compressed; `None` when the source is over.
    pub(super) fn next(&mut self) -> Result<Option<(RgbView<'_>, Option<u32>)>, CalibrateError> {
        let is_folder = self.identity().kind == SourceKind::Folder;
        while self.first || self.receive()? {
            self.first = false;
            let got = self.frame.size;
            if got == self.size {
                let bytes = self.frame.compressed_bytes;
                return Ok(self.frame.view().map(|view| (view, bytes)));
            }
            if !is_folder {
                let expected = self.size;
                return Err(FieldError::Size { expected, got }.into());
            }
            self.other_sizes += 1;
        }
        Ok(None)
    }

    /// Fills the frame; `false` when the source is over.
    fn receive(&mut self) -> Result<bool, CalibrateError> {
        let begin = Instant::now();
        loop {
            match self.source.next(WAIT, &mut self.frame)? {
                Received::Frame => return Ok(true),
                Received::End => return Ok(false),
                Received::Nothing | Received::Damaged(_) => {}
            }
            if begin.elapsed() > self.patience {
                let last = self.source.last_damage();
                return Err(CalibrateError::NoFrame {
                    source_name: self.identity().name.clone(),
                    seconds: self.patience.as_secs(),
                    last: last.unwrap_or("nothing came").to_owned(),
                });
            }
        }
    }
}
