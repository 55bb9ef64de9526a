//! What several looks at one picture found, as one list.

use shared::attribute::{AttributeFinding, AttributeFindings, MAX_VALUES, NO_FINDINGS, ValueId};
use shared::cell::Detection;
use shared::head::Thresholds;
use shared::metrics::matching::best_first;
use shared::score::Score;

/// A kept detection and what other views say of the same cell.
struct Cluster {
    best: Detection,
    /// The best detection of each view, in the order they were met.
    members: Vec<(usize, Detection)>,
}

/// Merges the detections of views, all in the pixels of the picture, by suppression: the best box
/// of a cell stays, with its score and class.
///
/// Its attributes are the mean over the views that see the cell, of each its best box. A view says
/// one value and how sure it is; what it leaves over is spread evenly over the other values (exact
/// where an attribute has two).
///
/// Returns the merged detections, best first, and how many fell to the most of a picture.
pub fn merge_views(
    views: &[Vec<Detection>],
    thresholds: &Thresholds,
    value_counts: &[u8],
) -> (Vec<Detection>, u32) {
    let mut all: Vec<(usize, Detection)> = (0..)
        .zip(views)
        .flat_map(|(view, found)| found.iter().map(move |&detection| (view, detection)))
        .collect();
    all.sort_by(|(a_view, a), (b_view, b)| best_first(a, b).then(a_view.cmp(b_view)));
    let mut kept: Vec<Cluster> = Vec::new();
    let mut over = 0;
    for (view, detection) in all {
        let same = |cluster: &&mut Cluster| {
            let best = &cluster.best;
            (thresholds.across_classes || best.class == detection.class)
                && best.bbox.iou(&detection.bbox) > thresholds.iou
        };
        if let Some(cluster) = kept.iter_mut().find(same) {
            if cluster.members.iter().all(|(seen, _)| *seen != view) {
                cluster.members.push((view, detection));
            }
        } else if kept.len() < usize::from(thresholds.max_detections) {
            kept.push(Cluster {
                best: detection,
                members: vec![(view, detection)],
            });
        } else {
            over += 1;
        }
    }
    let merged = kept.into_iter().map(|cluster| Detection {
        attributes: mean_attributes(&cluster.members, value_counts),
        ..cluster.best
    });
    (merged.collect(), over)
}

fn mean_attributes(members: &[(usize, Detection)], value_counts: &[u8]) -> AttributeFindings {
    let mut out = NO_FINDINGS;
    for (attribute, &count) in value_counts.iter().enumerate() {
        let said = members
            .iter()
            .filter_map(|(_, detection)| detection.attributes[attribute]);
        out[attribute] = mean_finding(said, usize::from(count));
    }
    out
}

/// The likeliest value of the mean distribution; of equal ones the first.
fn mean_finding(
    said: impl Iterator<Item = AttributeFinding>,
    n_values: usize,
) -> Option<AttributeFinding> {
    let mut sums = [0.0_f64; MAX_VALUES];
    let mut n = 0.0;
    for finding in said {
        let sure = f64::from(finding.score.get());
        let rest = (1.0 - sure) / (n_values - 1) as f64;
        for (value, sum) in sums[..n_values].iter_mut().enumerate() {
            *sum += if value == finding.value.index() {
                sure
            } else {
                rest
            };
        }
        n += 1.0;
    }
    if n == 0.0 {
        return None;
    }
    let (value, sum) = sums[..n_values]
        .iter()
        .enumerate()
        .reduce(|best, next| if next.1 > best.1 { next } else { best })?;
    Some(AttributeFinding {
        value: ValueId::new(value)?,
        score: Score::new((sum / n) as f32)?,
    })
}

#[cfg(test)]
mod tests {
    use shared::class::ClassId;
    use shared::geometry::BBox;

    use super::*;

    fn finding(value: usize, score: f32) -> Option<AttributeFinding> {
        Some(AttributeFinding {
            value: ValueId::new(value).unwrap(),
            score: Score::new(score).unwrap(),
        })
    }

    fn detection(x0: f32, class: u8, score: f32, attributes: [(usize, f32); 2]) -> Detection {
        let mut findings = NO_FINDINGS;
        for (slot, (value, score)) in findings.iter_mut().zip(attributes) {
            *slot = finding(value, score);
        }
        Detection {
            bbox: BBox::from_corners(x0, 0.0, x0 + 10.0, 10.0).unwrap(),
            class: ClassId(class),
            score: Score::new(score).unwrap(),
            attributes: findings,
        }
    }

    /// Of two views: (0.9, 0.1) and (0.25, 0.75) make (0.575, 0.425); of three values
    /// (0.5, 0.25, 0.25) and (0.1, 0.8, 0.1) make (0.3, 0.525, 0.175).
    #[test]
    fn the_best_box_stays_and_the_views_agree_on_its_attributes() {
        let first = vec![detection(0.0, 0, 0.8, [(0, 0.9), (0, 0.5)])];
        let second = vec![
            detection(1.0, 0, 0.6, [(1, 0.75), (1, 0.8)]),
            // The same view again says nothing more of the cell.
            detection(2.0, 0, 0.5, [(1, 1.0), (2, 1.0)]),
            detection(40.0, 0, 0.4, [(1, 1.0), (2, 1.0)]),
        ];
        let views = [first, second];
        let (merged, over) = merge_views(&views, &Thresholds::COUNTING, &[2, 3]);
        assert_eq!(over, 0);
        assert_eq!(merged.len(), 2);
        assert_eq!(merged[0].bbox, views[0][0].bbox);
        assert_eq!(merged[0].score.get(), 0.8);
        assert_eq!(merged[0].attributes[0], finding(0, 0.575));
        assert_eq!(merged[0].attributes[1], finding(1, 0.525));
        assert_eq!(merged[1], views[1][2]);
    }

    #[test]
    fn classes_stay_apart_where_the_thresholds_say_so_and_the_rest_is_counted() {
        let views = [
            vec![detection(0.0, 0, 0.8, [(0, 0.9), (0, 0.5)])],
            vec![detection(0.0, 1, 0.6, [(1, 0.75), (1, 0.8)])],
        ];
        let (apart, _) = merge_views(&views, &Thresholds::EVALUATION, &[2, 3]);
        assert_eq!(apart.len(), 2);
        let one = Thresholds {
            max_detections: 1,
            ..Thresholds::EVALUATION
        };
        let (first, over) = merge_views(&views, &one, &[2, 3]);
        assert_eq!((first.len(), over), (1, 1));
    }

    #[test]
    fn one_view_comes_through_unchanged() {
        let found = vec![detection(0.0, 0, 0.8, [(0, 0.9), (2, 0.5)])];
        let (merged, _) = merge_views(std::slice::from_ref(&found), &Thresholds::COUNTING, &[2, 3]);
        assert_eq!(merged, found);
    }
}
