//! Pictures that are the same picture.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use image::{DynamicImage, RgbImage};
use sha2::{Digest, Sha256};
use shared::geometry::Size;

use super::picture::read_header;
use super::problem::DataError;
use super::{Dataset, Split};
use crate::picture::Picture;

/// SHA-256 of a file's bytes.
pub(crate) fn content_hash(path: &Path) -> Result<[u8; 32], DataError> {
    let mut file = File::open(path).map_err(DataError::io(path))?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut chunk).map_err(DataError::io(path))?;
        if read == 0 {
            return Ok(hash.finalize().into());
        }
        hash.update(&chunk[..read]);
    }
}

/// Positions of files with equal bytes, two or more a group; only files of equal length are read.
pub(crate) fn byte_equal_groups(paths: &[&Path]) -> Result<Vec<Vec<usize>>, DataError> {
    let mut by_length: HashMap<u64, Vec<usize>> = HashMap::new();
    for (index, path) in paths.iter().enumerate() {
        let length = fs::metadata(path).map_err(DataError::io(path))?.len();
        by_length.entry(length).or_default().push(index);
    }
    let mut groups = Vec::new();
    for candidates in by_length.into_values().filter(|group| group.len() > 1) {
        let mut by_content: HashMap<[u8; 32], Vec<usize>> = HashMap::new();
        for index in candidates {
            by_content
                .entry(content_hash(paths[index])?)
                .or_default()
                .push(index);
        }
        groups.extend(by_content.into_values().filter(|group| group.len() > 1));
    }
    groups.sort();
    Ok(groups)
}

/// A picture looked at from far away: what near-duplicates have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glance {
    /// Difference hash of 9x8 grey means: a bit says whether it gets brighter to the right.
    hash: u64,
    /// Grey of 64x64 means less the mean of its surroundings: cells, not illumination.
    detail: Vec<i16>,
}

/// Side of the reduced picture, pixels.
const SIDE: usize = 64;

/// Farthest a near-duplicate may be shifted each way, pixels of the reduced picture.
const SHIFT_MAX: usize = 4;

/// Half the side of the surroundings whose mean is subtracted.
const SURROUNDINGS: usize = 6;

/// Hashes that differ in more bits belong to different pictures.
const HASH_BITS_MAX: u32 = 14;

/// Correlation from which two pictures show the same field. Set on the real sets: pairs that a
/// person calls the same field have 0.90 to 1.00 (BCCD 37 and 38: 0.92), the likest others 0.25 in
/// BCCD, 0.63 in PBC and 0.83 in the smartphone set, whose black rim is always the same.
const CORRELATION_MIN: f32 = 0.88;

/// Decodes a picture and reduces it.
pub(crate) fn glance(path: &Path) -> Result<Glance, DataError> {
    read_header(path)?;
    let picture = Picture::open(path).map_err(|error| DataError::file(path, error.reason))?;
    let Size { width, height } = picture.size;
    let picture = RgbImage::from_raw(width, height, picture.bytes);
    let picture = picture.expect("a decoded picture has its size");
    let picture = DynamicImage::from(picture).to_luma8();
    let small = image::imageops::thumbnail(&picture, 9, 8);
    let grey = |x: u32, y: u32| small.get_pixel(x, y).0[0];
    let brighter = (0..64).map(|bit| grey(bit % 8 + 1, bit / 8) > grey(bit % 8, bit / 8));
    let hash = brighter.fold(0, |hash, bit| hash << 1 | u64::from(bit));
    let reduced = image::imageops::thumbnail(&picture, SIDE as u32, SIDE as u32);
    Ok(Glance {
        hash,
        detail: detail(reduced.as_raw()),
    })
}

/// Each pixel less the mean of the square around it; the edge is repeated outwards.
fn detail(grey: &[u8]) -> Vec<i16> {
    let around = |at: usize| {
        (0..=2 * SURROUNDINGS).map(move |d| (at + d).saturating_sub(SURROUNDINGS).min(SIDE - 1))
    };
    let rows: Vec<u32> = (0..SIDE * SIDE)
        .map(|at| {
            around(at % SIDE)
                .map(|x| u32::from(grey[at / SIDE * SIDE + x]))
                .sum()
        })
        .collect();
    let area = (2 * SURROUNDINGS as u32 + 1).pow(2);
    (0..SIDE * SIDE)
        .map(|at| {
            let sum: u32 = around(at / SIDE).map(|y| rows[y * SIDE + at % SIDE]).sum();
            i16::from(grey[at]) - (sum / area) as i16
        })
        .collect()
}

impl Glance {
    /// Highest correlation over all shifts up to [`SHIFT_MAX`], -1..=1.
    fn correlation(&self, other: &Self) -> f32 {
        let shifts = 0..=2 * SHIFT_MAX;
        let all = shifts
            .clone()
            .flat_map(|y| shifts.clone().map(move |x| (x, y)));
        all.map(|shift| self.correlation_at(other, shift))
            .fold(-1.0, f32::max)
    }

    /// Pearson's correlation of the middle of `self` with the part of `other` at `(x, y)`.
    fn correlation_at(&self, other: &Self, (x, y): (usize, usize)) -> f32 {
        const INNER: usize = SIDE - 2 * SHIFT_MAX;
        let (mut a_sum, mut b_sum, mut aa, mut bb, mut ab) = (0i32, 0i32, 0i64, 0i64, 0i64);
        for row in 0..INNER {
            let a_row = &self.detail[(row + SHIFT_MAX) * SIDE + SHIFT_MAX..][..INNER];
            let b_row = &other.detail[(row + y) * SIDE + x..][..INNER];
            let (mut row_aa, mut row_bb, mut row_ab) = (0i32, 0i32, 0i32);
            for (&a, &b) in a_row.iter().zip(b_row) {
                let (a, b) = (i32::from(a), i32::from(b));
                a_sum += a;
                b_sum += b;
                row_aa += a * a;
                row_bb += b * b;
                row_ab += a * b;
            }
            aa += i64::from(row_aa);
            bb += i64::from(row_bb);
            ab += i64::from(row_ab);
        }
        let n = (INNER * INNER) as f64;
        let (a_sum, b_sum) = (f64::from(a_sum), f64::from(b_sum));
        let spread = |squares: i64, sum: f64| squares as f64 - sum * sum / n;
        let product = spread(aa, a_sum) * spread(bb, b_sum);
        // Two pictures without any detail are equally empty: nothing can be said, so "not the same".
        if product <= 0.0 {
            return 0.0;
        }
        ((ab as f64 - a_sum * b_sum / n) / product.sqrt()) as f32
    }

    /// The same field: saved again, slightly shifted or recoloured.
    pub(crate) fn is_near(&self, other: &Self) -> bool {
        (self.hash ^ other.hash).count_ones() <= HASH_BITS_MAX
            && self.correlation(other) >= CORRELATION_MIN
    }
}

/// Glances at all pictures on all cores, in the order of `paths`.
pub(crate) fn glances(paths: &[&Path]) -> Result<Vec<Glance>, DataError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let chunk = paths.len().div_ceil(threads).max(1);
    let parts: Vec<Result<Vec<Glance>, DataError>> = std::thread::scope(|scope| {
        let workers: Vec<_> = paths
            .chunks(chunk)
            .map(|paths| scope.spawn(move || paths.iter().map(|path| glance(path)).collect()))
            .collect();
        let join = |worker: std::thread::ScopedJoinHandle<'_, _>| {
            worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        workers.into_iter().map(join).collect()
    });
    let mut all = Vec::with_capacity(paths.len());
    for part in parts {
        all.extend(part?);
    }
    Ok(all)
}

/// Pairs of near-duplicates, each with the lower position first.
pub(crate) fn near_pairs(glances: &[Glance]) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    for (a, first) in glances.iter().enumerate() {
        for (b, second) in glances.iter().enumerate().skip(a + 1) {
            if first.is_near(second) {
                pairs.push((a, b));
            }
        }
    }
    pairs
}

/// What was taken out of train because val or test shows it too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeakReport {
    /// Byte-equal pictures, (removed, kept).
    pub equal: Vec<(PathBuf, PathBuf)>,
    /// Near-duplicates, (removed, kept).
    pub near: Vec<(PathBuf, PathBuf)>,
}

/// Removes from the earlier split (train, then val) every picture that a later one shows too, byte
/// by byte or nearly; decodes every picture once. The removed are counted in the report of `data`.
///
/// # Errors
/// A picture that cannot be read any more.
pub fn remove_leaks(data: &mut Dataset) -> Result<LeakReport, DataError> {
    let paths: Vec<&Path> = data
        .samples
        .iter()
        .map(|sample| sample.image.as_path())
        .collect();
    let mut report = LeakReport::default();
    let mut removed = vec![false; paths.len()];
    let splits: Vec<Split> = data.samples.iter().map(|sample| sample.split).collect();
    let mut remove = |a: usize, b: usize, list: &mut Vec<(PathBuf, PathBuf)>| {
        let (early, late) = if splits[a] < splits[b] {
            (a, b)
        } else {
            (b, a)
        };
        if splits[early] < splits[late] && !removed[early] {
            removed[early] = true;
            list.push((paths[early].to_path_buf(), paths[late].to_path_buf()));
        }
    };
    for group in byte_equal_groups(&paths)? {
        let last = group.iter().copied().max_by_key(|&index| splits[index]);
        for (&index, last) in group.iter().zip(std::iter::repeat(last)) {
            remove(index, last.unwrap_or(index), &mut report.equal);
        }
    }
    for (a, b) in near_pairs(&glances(&paths)?) {
        remove(a, b, &mut report.near);
    }
    let mut keep = removed.iter().map(|&removed| !removed);
    data.samples.retain(|_| keep.next().unwrap_or(true));
    data.report
        .drop_many("picture that a later split shows too", report.equal.len());
    data.report.drop_many(
        "picture that a later split nearly shows too",
        report.near.len(),
    );
    Ok(report)
}
