//! Which findings are of which picture.

use std::collections::{BTreeMap, BTreeSet};

use crate::detections::PictureFindings;

use super::{ScoreError, TruthPicture};

/// Truths and findings put together, by index.
pub(super) struct Matched {
    /// The findings of every truth, `None` = not in the file.
    pub findings_of_truth: Vec<Option<usize>>,
    /// Findings of no picture of the data set.
    pub without_truth: Vec<usize>,
}

impl Matched {
    /// Truths that nobody looked at.
    pub fn without_findings(&self) -> impl Iterator<Item = usize> {
        let all = self.findings_of_truth.iter().enumerate();
        all.filter(|(_, found)| found.is_none())
            .map(|(index, _)| index)
    }
}

/// Puts pictures together: by equal paths, then where one path is the end of the other, then by
/// file name. A step takes only what is unambiguous on both sides.
pub(super) fn put_together(
    truths: &[TruthPicture<'_>],
    findings: &[PictureFindings],
) -> Result<Matched, ScoreError> {
    let truth_paths: Vec<String> = truths.iter().map(|t| plain(t.name)).collect();
    let found_paths: Vec<String> = findings.iter().map(|f| plain(&f.image)).collect();
    each_once("truth", &truth_paths)?;
    each_once("findings", &found_paths)?;

    let mut groups: BTreeMap<&str, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
    for (index, path) in truth_paths.iter().enumerate() {
        groups.entry(file_name(path)).or_default().0.push(index);
    }
    for (index, path) in found_paths.iter().enumerate() {
        groups.entry(file_name(path)).or_default().1.push(index);
    }
    let mut matched = Matched {
        findings_of_truth: vec![None; truths.len()],
        without_truth: Vec::new(),
    };
    for (mut of_truth, mut of_found) in groups.into_values() {
        let equal = |t: usize, f: usize| truth_paths[t] == found_paths[f];
        let end = |t: usize, f: usize| is_end(&truth_paths[t], &found_paths[f]);
        let rules: [&dyn Fn(usize, usize) -> bool; 3] = [&equal, &end, &|_, _| true];
        for rule in rules {
            for (t, f) in take_unambiguous(&mut of_truth, &mut of_found, rule) {
                matched.findings_of_truth[t] = Some(f);
            }
        }
        matched.without_truth.append(&mut of_found);
    }
    matched.without_truth.sort_unstable();
    check_sizes(truths, findings, &matched)?;
    Ok(matched)
}

/// Takes the pairs for which `rule` holds with nobody else on either side.
fn take_unambiguous(
    of_truth: &mut Vec<usize>,
    of_found: &mut Vec<usize>,
    rule: &dyn Fn(usize, usize) -> bool,
) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    for &t in of_truth.iter() {
        let mut fitting = of_found.iter().filter(|&&f| rule(t, f));
        if let (Some(&f), None) = (fitting.next(), fitting.next()) {
            let only = of_truth.iter().filter(|&&other| rule(other, f)).count() == 1;
            if only {
                pairs.push((t, f));
            }
        }
    }
    of_truth.retain(|t| !pairs.iter().any(|(taken, _)| taken == t));
    of_found.retain(|f| !pairs.iter().any(|(_, taken)| taken == f));
    pairs
}

fn check_sizes(
    truths: &[TruthPicture<'_>],
    findings: &[PictureFindings],
    matched: &Matched,
) -> Result<(), ScoreError> {
    for (truth, found) in truths.iter().zip(&matched.findings_of_truth) {
        let Some(found) = found.map(|index| &findings[index]) else {
            continue;
        };
        if found.size != truth.size {
            return Err(ScoreError::Size {
                name: truth.name.to_owned(),
                expected: truth.size,
                found: found.size,
            });
        }
    }
    Ok(())
}

fn each_once(what: &'static str, paths: &[String]) -> Result<(), ScoreError> {
    let mut seen = BTreeSet::new();
    match paths.iter().find(|path| !seen.insert(*path)) {
        Some(path) => Err(ScoreError::Twice {
            what,
            name: path.clone(),
        }),
        None => Ok(()),
    }
}

/// With `/` between folders and without a leading `./`.
fn plain(path: &str) -> String {
    let path = path.replace('\\', "/");
    path.strip_prefix("./").unwrap_or(&path).to_owned()
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Whether one path is the end of the other, in whole folders.
fn is_end(a: &str, b: &str) -> bool {
    let ends = |long: &str, short: &str| {
        long.strip_suffix(short)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
    };
    ends(a, b) || ends(b, a)
}
