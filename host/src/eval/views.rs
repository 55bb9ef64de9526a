//! What several looks at one picture found, as one list.

use shared::attribute::{AttributeFinding, AttributeFindings, MAX_VALUES, NO_FINDINGS, ValueId};
use shared::cell::Detection;
use shared::class::ClassId;
use shared::geometry::BBox;
use shared::head::Thresholds;
use shared::metrics::matching::best_first;
use shared::score::Score;

/// What the views say of one cell.
struct Cluster {
    /// The best detection of all: what others are compared with.
    best: Detection,
    /// The best detection of each view, in the order they were met.
    members: Vec<(usize, Detection)>,
}

/// Merges the detections of views, all in the pixels of the picture, by suppression.
///
/// Best first, a detection joins the first cell whose best box it overlaps by more than the
/// thresholds allow two boxes (of its class, or of any with `across_classes`), else it begins a new
/// one. A cell then is what its views say in the mean, each by its best box: the class of the
/// largest sum of scores; as score that sum over all views, so that a view that missed the cell counts
/// as 0; corners weighted by the scores; and the mean of the attributes. A view says one value and how
/// sure it is; what it leaves over is spread evenly over the other values (exact where an attribute
/// has two).
///
/// Cells whose mean is below the least score are none. Returns the cells, best first, and how many
/// fell to the most of a picture.
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
    let mut clusters: Vec<Cluster> = Vec::new();
    for (view, detection) in all {
        let same = |cluster: &&mut Cluster| {
            let best = &cluster.best;
            (thresholds.across_classes || best.class == detection.class)
                && best.bbox.iou(&detection.bbox) > thresholds.iou
        };
        match clusters.iter_mut().find(same) {
            Some(cluster) if cluster.members.iter().any(|(seen, _)| *seen == view) => {}
            Some(cluster) => cluster.members.push((view, detection)),
            None => clusters.push(Cluster {
                best: detection,
                members: vec![(view, detection)],
            }),
        }
    }
    let cells = clusters
        .iter()
        .filter_map(|cluster| cluster.mean(views.len(), value_counts));
    let mut cells: Vec<Detection> = cells
        .filter(|cell| cell.score.get() >= thresholds.score)
        .collect();
    cells.sort_by(best_first);
    let over = cells
        .len()
        .saturating_sub(usize::from(thresholds.max_detections));
    cells.truncate(cells.len() - over);
    (cells, over as u32)
}

impl Cluster {
    /// `None` when no view gives it any score.
    fn mean(&self, n_views: usize, value_counts: &[u8]) -> Option<Detection> {
        let mut classes: Vec<(ClassId, f64)> = Vec::new();
        let (mut corners, mut weight) = ([0.0; 4], 0.0);
        for (_, member) in &self.members {
            let score = f64::from(member.score.get());
            match classes.iter_mut().find(|(class, _)| *class == member.class) {
                Some((_, sum)) => *sum += score,
                None => classes.push((member.class, score)),
            }
            for (sum, corner) in corners.iter_mut().zip(member.bbox.xyxy()) {
                *sum += score * f64::from(corner);
            }
            weight += score;
        }
        let first_of_largest = |best: (ClassId, f64), next: (ClassId, f64)| {
            if next.1 > best.1 { next } else { best }
        };
        let (class, sum) = classes.into_iter().reduce(first_of_largest)?;
        let [x0, y0, x1, y1] = corners.map(|sum| (sum / weight) as f32);
        Some(Detection {
            bbox: BBox::from_corners(x0, y0, x1, y1)?,
            class,
            score: Score::new((sum / n_views as f64) as f32)?,
            attributes: mean_attributes(&self.members, value_counts),
        })
    }
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

    /// By hand, of two views with scores 0.75 and 0.5: corners (0.75 * 0 + 0.5 * 1) / 1.25 = 0.4, score
    /// 1.25 / 2. Of two values (0.9, 0.1) and (0.25, 0.75) make (0.575, 0.425); of three (0.5, 0.25, 0.25)
    /// and (0.1, 0.8, 0.1) make (0.3, 0.525, 0.175).
    #[test]
    fn a_cell_is_what_its_views_say_in_the_mean() {
        let first = vec![detection(0.0, 0, 0.75, [(0, 0.9), (0, 0.5)])];
        let second = vec![
            detection(1.0, 0, 0.5, [(1, 0.75), (1, 0.8)]),
            // The same view again says nothing more of the cell.
            detection(2.0, 0, 0.375, [(1, 1.0), (2, 1.0)]),
            detection(40.0, 0, 0.5, [(1, 1.0), (2, 1.0)]),
        ];
        let views = [first, second];
        let (merged, over) = merge_views(&views, &Thresholds::COUNTING, &[2, 3]);
        assert_eq!((merged.len(), over), (2, 0));
        assert_eq!(merged[0].bbox.xyxy(), [0.4, 0.0, 10.4, 10.0]);
        assert_eq!(merged[0].score.get(), 0.625);
        assert_eq!(merged[0].attributes[0], finding(0, 0.575));
        assert_eq!(merged[0].attributes[1], finding(1, 0.525));
        // One view in two saw it: half its score.
        assert_eq!(merged[1].score.get(), 0.25);
        assert_eq!(merged[1].attributes, views[1][2].attributes);
    }

    #[test]
    fn what_too_few_views_see_is_no_cell_and_what_there_is_no_room_for_is_counted() {
        let seen_once = [
            vec![detection(0.0, 0, 0.375, [(0, 0.9), (0, 0.5)])],
            Vec::new(),
        ];
        let (merged, over) = merge_views(&seen_once, &Thresholds::COUNTING, &[2, 3]);
        assert_eq!((merged.len(), over), (0, 0));
        let one = Thresholds {
            max_detections: 1,
            ..Thresholds::EVALUATION
        };
        let two = [vec![
            detection(0.0, 0, 0.75, [(0, 0.9), (0, 0.5)]),
            detection(40.0, 0, 0.5, [(0, 0.9), (0, 0.5)]),
        ]];
        let (merged, over) = merge_views(&two, &one, &[2, 3]);
        assert_eq!((merged[0].score.get(), merged.len(), over), (0.75, 1, 1));
    }

    #[test]
    fn classes_stay_apart_or_are_voted_on_as_the_thresholds_say() {
        let views = [
            vec![detection(0.0, 0, 0.75, [(0, 0.9), (0, 0.5)])],
            vec![detection(0.0, 1, 0.5, [(1, 0.75), (1, 0.8)])],
            vec![detection(0.0, 1, 0.5, [(1, 0.75), (1, 0.8)])],
        ];
        let (apart, _) = merge_views(&views, &Thresholds::EVALUATION, &[2, 3]);
        assert_eq!(apart.len(), 2);
        let (voted, _) = merge_views(&views, &Thresholds::COUNTING, &[2, 3]);
        let found: Vec<_> = voted.iter().map(|d| (d.class, d.score.get())).collect();
        assert_eq!(found, [(ClassId(1), (1.0_f64 / 3.0) as f32)]);
    }

    #[test]
    fn one_view_comes_through_unchanged() {
        let found = vec![detection(0.0, 0, 0.75, [(0, 0.9), (2, 0.5)])];
        let (merged, _) = merge_views(std::slice::from_ref(&found), &Thresholds::COUNTING, &[2, 3]);
        assert_eq!(merged, found);
    }
}
