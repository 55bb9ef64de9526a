//! How long each stage takes, from the bytes of a JPEG to detections.

use std::path::Path;
use std::time::{Duration, Instant};

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder};
use serde::Serialize;

use crate::detector::{DetectError, Detector, StageTimes};
use crate::fields;
use crate::picture::{self, Picture, PictureError};
use crate::source::folder::{self, Skipped, SourceError};

/// Drawn fields that take turns.
const FIELDS: u64 = 4;

/// Readable pictures taken from a folder at most; their bytes are kept in memory.
const PICTURES_MAX: usize = 64;

/// Rounds before the clock counts.
const WARM_UP: u32 = 3;

/// Quality of the drawn JPEGs, as cameras have it.
const JPEG_QUALITY: u8 = 90;

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The folder of pictures.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A picture that was readable a moment ago.
    #[error("{image}: {error}")]
    Picture {
        /// Relative to the source.
        image: String,
        /// The reason.
        error: PictureError,
    },
    /// The model.
    #[error(transparent)]
    Detect(#[from] DetectError),
}

/// One stage's times over all rounds.
#[derive(Clone, Debug, Serialize)]
pub struct StageLine {
    /// `decode`, `canvas`, `network`, `postprocess` or, with a roi attribute head, `attributes`.
    pub name: &'static str,
    /// Half of the rounds were faster.
    pub median_ms: f64,
    /// 95 of 100 rounds were faster.
    pub p95_ms: f64,
}

/// What a benchmark measured.
#[derive(Clone, Debug, Serialize)]
pub struct BenchReport {
    /// In the order they run.
    pub stages: Vec<StageLine>,
    /// Median of whole rounds, not the sum of the stages' medians.
    pub total_median_ms: f64,
    /// Most memory the process ever had, MB; `None` where the system does not say.
    pub peak_rss_mb: Option<f64>,
    /// Threads the network computes with.
    pub threads: u32,
    /// Hash of the model file.
    pub model_sha256: String,
}

/// A picture file in memory.
pub struct Encoded {
    name: String,
    bytes: Vec<u8>,
}

/// The drawn fields as JPEG files in memory.
pub fn drawn() -> Vec<Encoded> {
    (1..=FIELDS)
        .map(|seed| Encoded {
            name: format!("drawn field {seed}"),
            bytes: jpeg_of(&fields::demonstration(seed)),
        })
        .collect()
}

/// The first pictures of a folder that can be read; every one that is left out is told.
///
/// # Errors
/// When the folder cannot be listed or none of its pictures can be decoded.
pub fn pictures_of(
    source: &Path,
    mut tell: impl FnMut(&Skipped),
) -> Result<Vec<Encoded>, BenchError> {
    let listing = folder::list(source, &[])?;
    let mut skipped = listing.skipped.len();
    listing.skipped.iter().for_each(&mut tell);
    let mut pictures = Vec::new();
    for entry in listing.entries {
        if pictures.len() == PICTURES_MAX {
            break;
        }
        let readable = picture::read_bytes(&entry.path)
            .and_then(|bytes| picture::decode(&bytes).map(|_| bytes));
        match readable {
            Ok(bytes) => pictures.push(Encoded {
                name: entry.name,
                bytes,
            }),
            Err(error) => {
                skipped += 1;
                tell(&Skipped {
                    image: entry.name,
                    reason: error.to_string(),
                });
            }
        }
    }
    if pictures.is_empty() {
        return Err(BenchError::Source(SourceError::NoPicture {
            path: source.display().to_string(),
            skipped,
            others: listing.others,
        }));
    }
    Ok(pictures)
}

/// Runs `repeat` rounds over `pictures` in turn.
///
/// # Errors
/// When a picture or the model fails.
pub fn bench(
    detector: &mut Detector,
    model_sha256: &str,
    pictures: &[Encoded],
    repeat: u32,
) -> Result<BenchReport, BenchError> {
    let mut rounds = Vec::new();
    let turns = pictures.iter().cycle();
    for (round, encoded) in (0..WARM_UP + repeat).zip(turns) {
        let started = Instant::now();
        let picture = picture::decode(&encoded.bytes).map_err(|error| BenchError::Picture {
            image: encoded.name.clone(),
            error,
        })?;
        let decode = started.elapsed();
        let times = detector.detect(picture.view())?.times;
        if round >= WARM_UP {
            rounds.push((decode, times, started.elapsed()));
        }
    }
    type Round = (Duration, StageTimes, Duration);
    let line = |name, of: fn(&Round) -> Duration| {
        let times = Sorted::new(rounds.iter().map(of));
        StageLine {
            name,
            median_ms: times.at(0.5),
            p95_ms: times.at(0.95),
        }
    };
    let mut stages = vec![
        line("decode", |round| round.0),
        line("canvas", |round| round.1.canvas),
        line("network", |round| round.1.network),
        line("postprocess", |round| round.1.postprocess),
    ];
    if detector.contract().regions().is_some() {
        stages.push(line("attributes", |round| {
            round.1.attributes.unwrap_or_default()
        }));
    }
    Ok(BenchReport {
        stages,
        total_median_ms: Sorted::new(rounds.iter().map(|round| round.2)).at(0.5),
        peak_rss_mb: peak_rss_mb(),
        threads: 1,
        model_sha256: model_sha256.to_owned(),
    })
}

/// Milliseconds in ascending order.
struct Sorted(Vec<f64>);

impl Sorted {
    fn new(times: impl Iterator<Item = Duration>) -> Self {
        let mut times: Vec<f64> = times.map(|time| time.as_secs_f64() * 1e3).collect();
        times.sort_unstable_by(f64::total_cmp);
        Self(times)
    }

    /// The nearest rank of a share of the rounds, rounded to a microsecond; 0 without rounds.
    fn at(&self, share: f64) -> f64 {
        let rank = (share * self.0.len() as f64).ceil() as usize;
        let time = self.0.get(rank.saturating_sub(1)).copied().unwrap_or(0.0);
        (time * 1e3).round() / 1e3
    }
}

fn jpeg_of(picture: &Picture) -> Vec<u8> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY)
        .write_image(
            picture.view().bytes(),
            picture.size().width,
            picture.size().height,
            ExtendedColorType::Rgb8,
        )
        .expect("a small RGB picture goes into memory");
    bytes
}

/// `VmHWM` of the process, which the kernel gives in KiB.
fn peak_rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some((kib * 1.024).round() / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreadable_pictures_take_no_place_and_are_told() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..PICTURES_MAX {
            std::fs::write(folder.path().join(format!("a{number}.png")), b"").unwrap();
        }
        let whole = jpeg_of(&fields::demonstration(1));
        std::fs::write(folder.path().join("b.jpg"), whole).unwrap();
        let mut told = 0;
        let pictures = pictures_of(folder.path(), |one| {
            assert_eq!(one.reason, "empty file, expected PNG or JPEG");
            told += 1;
        })
        .unwrap();
        assert_eq!((pictures.len(), told), (1, PICTURES_MAX));
        assert_eq!(pictures[0].name, "b.jpg");
    }

    #[test]
    fn median_and_p95_are_the_nearest_ranks() {
        let times = Sorted::new((1..=100).rev().map(Duration::from_millis));
        assert_eq!((times.at(0.5), times.at(0.95)), (50.0, 95.0));
        assert_eq!(
            Sorted::new([Duration::from_millis(7)].into_iter()).at(0.95),
            7.0
        );
        assert_eq!(Sorted::new([].into_iter()).at(0.5), 0.0);
    }
}
