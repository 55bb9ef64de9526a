//! Pictures of a folder as frames: each once, or as the recording of a camera, over and over.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use shared::geometry::Size;

use super::folder::{self, Entry, Listing, Skipped};
use super::pace::{Rate, Ticker};
use super::{
    DamageReason, FrameSource, Received, SourceCounters, SourceError, SourceIdentity, SourceKind,
};
use crate::frame::Frame;
use crate::picture::{self, Picture, PictureError};

/// A folder as a source.
///
/// As [`SourceKind::Folder`] every picture is one frame, in the order of the names, whatever its
/// size; none is left out for want of time. As [`SourceKind::Sequence`] the pictures go round, as often as
/// asked for, all have the size of the first, and those whose time passed unseen are replaced. What has a
/// picture's name and cannot be one is a damaged frame before the first picture.
#[derive(Debug)]
pub struct Pictures {
    identity: SourceIdentity,
    counters: SourceCounters,
    ticker: Ticker,
    entries: Vec<Entry>,
    /// What cannot be a picture and was not told yet, and how many there are in all.
    skipped: VecDeque<Skipped>,
    skipped_all: usize,
    /// Position of the end, where there is one.
    end: Option<u64>,
    /// Of the next picture, counted on over all rounds.
    position: u64,
    /// Damaged pictures since the last whole one.
    bad_in_a_row: usize,
    last_damage: Option<String>,
}

impl Pictures {
    /// Every picture of `folder` and below it once; times are counted from `start`, the start of
    /// the program.
    ///
    /// # Errors
    /// When the folder cannot be listed or has no picture, or the rate is none.
    pub fn folder(folder: &Path, rate: Rate, start: Instant) -> Result<Self, SourceError> {
        let mut source = Self::open(SourceKind::Folder, folder, rate, start)?;
        source.end = Some(source.entries.len() as u64);
        Ok(source)
    }

    /// The pictures of `folder` over and over; `rounds` times, or for ever.
    ///
    /// # Errors
    /// As [`Pictures::folder`], and when no picture of it can be decoded.
    pub fn sequence(
        folder: &Path,
        rounds: Option<u32>,
        rate: Rate,
        start: Instant,
    ) -> Result<Self, SourceError> {
        let mut source = Self::open(SourceKind::Sequence, folder, rate, start)?;
        source.end = rounds.map(|rounds| u64::from(rounds) * source.entries.len() as u64);
        let first = source
            .entries
            .iter()
            .find_map(|it| picture::read(&it.path).ok());
        let Some(first) = first else {
            return Err(source.no_picture());
        };
        source.identity.size = Some(first.size());
        Ok(source)
    }

    fn open(
        kind: SourceKind,
        folder: &Path,
        rate: Rate,
        start: Instant,
    ) -> Result<Self, SourceError> {
        let ticker = Ticker::new(rate, start)?;
        let Listing {
            entries,
            skipped,
            others,
        } = folder::list(folder, &[])?;
        let path = folder.display().to_string();
        if entries.is_empty() {
            let skipped = skipped.len();
            return Err(SourceError::Folder(folder::SourceError::NoPicture {
                path,
                skipped,
                others,
            }));
        }
        Ok(Self {
            identity: SourceIdentity {
                fps: ticker.fps(),
                ..SourceIdentity::of_pictures(kind, path)
            },
            counters: SourceCounters::default(),
            ticker,
            entries,
            skipped_all: skipped.len(),
            skipped: skipped.into(),
            end: None,
            position: 0,
            bad_in_a_row: 0,
            last_damage: None,
        })
    }

    fn is_over(&self) -> bool {
        self.end.is_some_and(|end| self.position >= end)
    }

    fn no_picture(&self) -> SourceError {
        SourceError::Folder(folder::SourceError::NoPicture {
            path: self.identity.name.clone(),
            skipped: self.skipped_all + self.entries.len(),
            others: 0,
        })
    }

    /// The picture at the position, if it is one of the agreed size.
    fn read(&self) -> Result<Picture, (DamageReason, String)> {
        let index = (self.position % self.entries.len() as u64) as usize;
        let entry = &self.entries[index];
        let bad = |reason, words: String| (reason, format!("{}: {words}", entry.name));
        let picture = picture::read(&entry.path)
            .map_err(|error| bad(reason_of(&error), error.to_string()))?;
        match self.identity.size {
            Some(expected) if expected != picture.size() => Err(bad(
                DamageReason::Size,
                format!("picture of {}, expected {expected}", picture.size()),
            )),
            _ => Ok(picture),
        }
    }

    fn damaged(&mut self, reason: DamageReason, words: String) -> Received {
        self.counters.damaged.add(reason);
        self.last_damage = Some(words);
        Received::Damaged(reason)
    }

    fn fill(&mut self, picture: &Picture, captured: Duration, frame: &mut Frame) {
        frame.pixels.clear();
        frame.pixels.extend_from_slice(picture.view().bytes());
        frame.size = picture.size();
        frame.sequence = self.position;
        frame.captured = captured;
        frame.compressed_bytes = None;
        frame.name.clear();
        let index = self.position % self.entries.len() as u64;
        frame.name.push_str(&self.entries[index as usize].name);
        self.counters.frames += 1;
        self.bad_in_a_row = 0;
    }
}

impl FrameSource for Pictures {
    fn identity(&self) -> &SourceIdentity {
        &self.identity
    }

    fn next(&mut self, wait: Duration, frame: &mut Frame) -> Result<Received, SourceError> {
        if let Some(Skipped { image, reason }) = self.skipped.pop_front() {
            return Ok(self.damaged(DamageReason::Unreadable, format!("{image}: {reason}")));
        }
        if self.is_over() {
            return Ok(Received::End);
        }
        if self.identity.kind == SourceKind::Sequence && self.bad_in_a_row >= self.entries.len() {
            return Err(self.no_picture());
        }
        let Some(tick) = self.ticker.wait(wait) else {
            return Ok(Received::Nothing);
        };
        if self.identity.kind == SourceKind::Sequence {
            let left = self.end.map_or(u64::MAX, |end| end - self.position - 1);
            // What came last is shown although it is late.
            let missed = tick.missed.min(left);
            self.counters.replaced += missed;
            self.position += missed;
        }
        let received = match self.read() {
            Ok(picture) => {
                self.fill(&picture, tick.captured, frame);
                Received::Frame
            }
            Err((reason, words)) => {
                self.bad_in_a_row += 1;
                self.damaged(reason, words)
            }
        };
        self.position += 1;
        Ok(received)
    }

    fn counters(&self) -> SourceCounters {
        self.counters
    }

    fn last_damage(&self) -> Option<&str> {
        self.last_damage.as_deref()
    }
}

/// Which counter an unread picture belongs to.
fn reason_of(error: &PictureError) -> DamageReason {
    match error {
        PictureError::Unreadable(_) | PictureError::NotAFile(_) => DamageReason::Unreadable,
        PictureError::Empty => DamageReason::Empty,
        PictureError::Format { .. } | PictureError::Jpeg(_) => DamageReason::Markers,
        PictureError::FileTooLarge { .. }
        | PictureError::Sides(Size { .. })
        | PictureError::TooMuchMemory { .. }
        | PictureError::TooManyScans { .. } => DamageReason::Size,
        PictureError::Damaged(_) => DamageReason::Decoder,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    const WAIT: Duration = Duration::from_secs(60);

    /// A folder of PNG pictures of one grey each.
    fn folder(pictures: &[(&str, Size, u8)]) -> TempDir {
        let folder = TempDir::new().unwrap();
        for &(name, size, grey) in pictures {
            let picture = image::RgbImage::from_pixel(size.width, size.height, [grey; 3].into());
            picture.save(folder.path().join(name)).unwrap();
        }
        folder
    }

    const SMALL: Size = Size::new(8, 6);

    #[test]
    fn a_folder_gives_each_picture_once_in_the_order_of_the_names() {
        let large = Size::new(16, 4);
        let folder = folder(&[
            ("b.png", large, 20),
            ("a.png", SMALL, 10),
            ("c.png", SMALL, 30),
        ]);
        let mut source = Pictures::folder(folder.path(), Rate::Free, Instant::now()).unwrap();
        let mut frame = Frame::new();
        let mut last = None;
        for (sequence, size, grey) in [(0, SMALL, 10), (1, large, 20), (2, SMALL, 30)] {
            assert_eq!(source.next(WAIT, &mut frame).unwrap(), Received::Frame);
            assert_eq!((frame.sequence, frame.size), (sequence, size));
            assert!(
                frame
                    .view()
                    .unwrap()
                    .bytes()
                    .iter()
                    .all(|&byte| byte == grey)
            );
            assert!(Some(frame.captured) > last);
            last = Some(frame.captured);
        }
        for _ in 0..2 {
            assert_eq!(source.next(WAIT, &mut frame).unwrap(), Received::End);
        }
        let identity = source.identity();
        assert_eq!((identity.kind, identity.size), (SourceKind::Folder, None));
        assert_eq!(source.counters().frames, 3);
    }

    #[test]
    fn what_is_no_picture_is_counted_with_its_reason_and_the_rest_still_comes() {
        let folder = folder(&[("z.png", SMALL, 9)]);
        fs::write(folder.path().join("a.png"), "").unwrap();
        fs::write(folder.path().join("b.jpg"), "GIF89a").unwrap();
        fs::write(folder.path().join("c.jpg"), [0xff, 0xd8, 0xff, 0xdb]).unwrap();
        fs::create_dir(folder.path().join("d.jpg")).unwrap();
        let mut source = Pictures::folder(folder.path(), Rate::Free, Instant::now()).unwrap();
        let mut frame = Frame::new();
        for (reason, words) in [
            (
                DamageReason::Unreadable,
                "d.jpg: a folder, expected a picture",
            ),
            (
                DamageReason::Empty,
                "a.png: empty file, expected PNG or JPEG",
            ),
            (
                DamageReason::Markers,
                "b.jpg: starts with [47, 49, 46, 38], expected PNG or JPEG",
            ),
            (
                DamageReason::Markers,
                "c.jpg: JPEG cut short: 4 bytes and no end marker",
            ),
        ] {
            let received = source.next(WAIT, &mut frame).unwrap();
            assert_eq!(received, Received::Damaged(reason));
            assert_eq!(source.last_damage(), Some(words));
        }
        assert_eq!(source.next(WAIT, &mut frame).unwrap(), Received::Frame);
        assert_eq!(
            (frame.name.as_str(), &frame.pixels[..]),
            ("z.png", &[9; 144][..])
        );
        assert_eq!(source.next(WAIT, &mut frame).unwrap(), Received::End);
        let counters = source.counters();
        assert_eq!((counters.frames, counters.damaged.total()), (1, 4));
        assert_eq!(counters.damaged.get(DamageReason::Unreadable), 1);
    }

    #[test]
    fn a_sequence_ends_after_its_rounds_with_its_last_picture() {
        let folder = folder(&[("a.png", SMALL, 1), ("b.png", SMALL, 2)]);
        for (rate, wait) in [
            (Rate::Free, Duration::ZERO),
            (Rate::PerSecond(1000.0), Duration::from_millis(50)),
        ] {
            let start = Instant::now();
            let mut source = Pictures::sequence(folder.path(), Some(3), rate, start).unwrap();
            let mut frame = Frame::new();
            let mut seen = 0;
            while source.next(WAIT, &mut frame).unwrap() == Received::Frame {
                seen += 1;
                std::thread::sleep(wait);
            }
            assert_eq!((frame.sequence, frame.pixels[0]), (5, 2));
            assert_eq!(seen + source.counters().replaced, 6);
        }
    }

    #[test]
    fn a_sequence_goes_round_and_refuses_another_size() {
        let folder = folder(&[
            ("a.png", SMALL, 1),
            ("b.png", Size::new(4, 4), 2),
            ("c.png", SMALL, 3),
        ]);
        let mut source =
            Pictures::sequence(folder.path(), None, Rate::Free, Instant::now()).unwrap();
        assert_eq!(source.identity().size, Some(SMALL));
        let mut frame = Frame::new();
        for round in 0..3 {
            assert_eq!(source.next(WAIT, &mut frame).unwrap(), Received::Frame);
            assert_eq!((frame.sequence, frame.pixels[0]), (round * 3, 1));
            let received = source.next(WAIT, &mut frame).unwrap();
            assert_eq!(received, Received::Damaged(DamageReason::Size));
            let words = "b.png: picture of 4x4, expected 8x6";
            assert_eq!(source.last_damage(), Some(words));
            assert_eq!(source.next(WAIT, &mut frame).unwrap(), Received::Frame);
            assert_eq!((frame.sequence, frame.pixels[0]), (round * 3 + 2, 3));
        }
    }

    #[test]
    fn a_sequence_that_nobody_fetches_is_replaced_and_that_is_counted() {
        let folder = folder(&[("a.png", SMALL, 1), ("b.png", SMALL, 2)]);
        let rate = Rate::PerSecond(200.0);
        let mut source = Pictures::sequence(folder.path(), None, rate, Instant::now()).unwrap();
        let mut frame = Frame::new();
        source.next(WAIT, &mut frame).unwrap();
        std::thread::sleep(Duration::from_millis(30));
        source.next(WAIT, &mut frame).unwrap();
        let counters = source.counters();
        assert!(counters.replaced >= 4, "{counters:?}");
        assert_eq!(frame.sequence, counters.replaced + 1);
        assert_eq!(u64::from(frame.pixels[0]), frame.sequence % 2 + 1);
    }

    #[test]
    fn a_sequence_whose_pictures_all_went_bad_ends_with_an_error_and_not_in_a_circle() {
        let folder = folder(&[("a.png", SMALL, 1), ("b.png", SMALL, 2)]);
        let mut source =
            Pictures::sequence(folder.path(), None, Rate::Free, Instant::now()).unwrap();
        for name in ["a.png", "b.png"] {
            fs::remove_file(folder.path().join(name)).unwrap();
        }
        let mut frame = Frame::new();
        for _ in 0..2 {
            let received = source.next(WAIT, &mut frame).unwrap();
            assert_eq!(received, Received::Damaged(DamageReason::Unreadable));
        }
        let error = source.next(WAIT, &mut frame).unwrap_err().to_string();
        assert!(error.ends_with("no picture could be read (2 skipped, 0 files that are no PNG or JPEG by their names)"), "{error}");
    }

    #[test]
    fn a_folder_without_pictures_is_refused_with_what_is_there() {
        let folder = TempDir::new().unwrap();
        let open = || Pictures::folder(folder.path(), Rate::Free, Instant::now()).unwrap_err();
        assert!(
            open()
                .to_string()
                .contains("no picture could be read (0 skipped, 0")
        );
        fs::write(folder.path().join("x.png"), "x").unwrap();
        let error =
            Pictures::sequence(folder.path(), None, Rate::Free, Instant::now()).unwrap_err();
        assert!(error.to_string().contains("(1 skipped"), "{error}");
        let missing = folder.path().join("missing");
        let error = Pictures::folder(&missing, Rate::Free, Instant::now()).unwrap_err();
        assert!(error.to_string().starts_with("source /"), "{error}");
    }
}
