//! Pictures that are the same picture.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::picture::read_header;
use super::problem::DataError;
use super::{Dataset, Split};

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
    /// 32x32 colour means.
    thumbnail: Vec<u8>,
}

/// Side of the thumbnail that confirms what the hash suspects.
const THUMBNAIL_SIDE: u32 = 32;

/// Hashes that differ in more bits belong to different pictures.
const HASH_BITS_MAX: u32 = 8;

/// Mean difference of two thumbnails of the same picture saved twice stays below this, in grey
/// levels. Set on the real sets: the nearest pair of different cells of PBC lies at 4.
const THUMBNAIL_DIFFERENCE_MAX: f32 = 2.5;

/// Decodes a picture and reduces it.
pub(crate) fn glance(path: &Path) -> Result<Glance, DataError> {
    read_header(path)?;
    let picture = image::ImageReader::open(path)
        .and_then(image::ImageReader::with_guessed_format)
        .map_err(DataError::io(path))?
        .decode()
        .map_err(|error| DataError::file(path, error))?
        .to_rgb8();
    let small = image::imageops::thumbnail(&picture, 9, 8);
    let grey = |x: u32, y: u32| small.get_pixel(x, y).0.map(u32::from).iter().sum::<u32>();
    let brighter = (0..64).map(|bit| grey(bit % 8 + 1, bit / 8) > grey(bit % 8, bit / 8));
    let hash = brighter.fold(0, |hash, bit| hash << 1 | u64::from(bit));
    let thumbnail = image::imageops::thumbnail(&picture, THUMBNAIL_SIDE, THUMBNAIL_SIDE);
    Ok(Glance {
        hash,
        thumbnail: thumbnail.into_raw(),
    })
}

impl Glance {
    /// Mean difference of the thumbnails in grey levels.
    fn difference(&self, other: &Self) -> f32 {
        let pairs = self.thumbnail.iter().zip(&other.thumbnail);
        let sum: u32 = pairs.map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
        sum as f32 / self.thumbnail.len() as f32
    }

    /// The same picture, saved again, slightly shifted or recoloured.
    pub(crate) fn is_near(&self, other: &Self) -> bool {
        (self.hash ^ other.hash).count_ones() <= HASH_BITS_MAX
            && self.difference(other) <= THUMBNAIL_DIFFERENCE_MAX
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
