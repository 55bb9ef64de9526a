//! The metrics against numbers of independent tools.

use serde::Deserialize;
use shared::attribute::{NO_ATTRIBUTES, NO_FINDINGS, ValueId};
use shared::cell::{Cell, Detection};
use shared::class::ClassId;
use shared::geometry::BBox;
use shared::metrics::agreement::CountAgreement;
use shared::metrics::attributes::AttributeTally;
use shared::metrics::average_precision::{self, AveragePrecision};
use shared::metrics::confusion::{ConfusionMatrix, confusion_len};
use shared::metrics::matching::{
    IOU_THRESHOLDS, Verdict, best_first, by_class_then_best, judge_coco, judge_yolov5,
    largest_overlap_without_threshold, one_finding_a_cell, pair_by_overlap,
};
use shared::metrics::operating_point::{CONFIDENCE_POINTS, best_smoothed_f1, precision_recall_at};
use shared::metrics::reliability::Reliability;
use shared::score::Score;

fn assert_close(found: f64, expected: f64, tolerance: f64, what: &str) {
    assert!(
        (found - expected).abs() <= tolerance,
        "{what}: found {found}, expected {expected} within {tolerance}"
    );
}

/// ANSI C's generator: 15 bits a call.
struct Lcg(u64);

impl Lcg {
    fn draw(&mut self, n: u64) -> u64 {
        self.0 = (self.0 * 1_103_515_245 + 12_345) % (1 << 31);
        (self.0 >> 16) % n
    }
}

fn truth(class: Option<u8>, x: f32, y: f32, width: f32, height: f32) -> Cell {
    Cell {
        bbox: BBox::from_corners(x, y, x + width, y + height).unwrap(),
        class: class.map(ClassId),
        attributes: NO_ATTRIBUTES,
    }
}

fn finding(class: u8, score: f32, x: f32, y: f32, width: f32, height: f32) -> Detection {
    Detection {
        bbox: BBox::from_corners(x, y, x + width, y + height).unwrap(),
        class: ClassId(class),
        score: Score::new(score).unwrap(),
        attributes: NO_FINDINGS,
    }
}

type Judge = fn(&[Cell], &[Detection], u32, &mut [u16], &mut [Verdict]);

/// Judges picture by picture; the verdicts of all, class by class.
fn judge_all(pictures: &[(Vec<Cell>, Vec<Detection>)], judge: Judge) -> Vec<Verdict> {
    let mut all = Vec::new();
    for (truths, found) in pictures {
        let empty = Verdict {
            score: Score::ZERO,
            class: ClassId(0),
            sequence: 0,
            hits: 0,
            ignored: 0,
        };
        let mut verdicts = vec![empty; found.len()];
        let first = all.len() as u32;
        judge(
            truths,
            found,
            first,
            &mut vec![0; truths.len()],
            &mut verdicts,
        );
        all.extend(verdicts);
    }
    all.sort_by(by_class_then_best);
    all
}

fn of_class(verdicts: &[Verdict], class: u8) -> &[Verdict] {
    let start = verdicts.partition_point(|v| v.class < ClassId(class));
    let end = verdicts.partition_point(|v| v.class <= ClassId(class));
    &verdicts[start..end]
}

#[derive(Deserialize)]
struct Yolov5Golden {
    hits: Vec<u16>,
    score: Vec<f32>,
    class: Vec<u8>,
    truth_class: Vec<u8>,
    precision: Vec<f64>,
    recall: Vec<f64>,
    f1: Vec<f64>,
    ap: Vec<[f64; 10]>,
    map50: f64,
    map50_95: f64,
}

#[test]
fn the_table_of_yolov5_is_reproduced() {
    let golden: Yolov5Golden = serde_json::from_str(include_str!("golden/yolov5_ap.json")).unwrap();
    let rows = golden.hits.iter().zip(&golden.score).zip(&golden.class);
    let mut verdicts: Vec<Verdict> = rows
        .enumerate()
        .map(|(index, ((&hits, &score), &class))| Verdict {
            score: Score::new(score).unwrap(),
            class: ClassId(class),
            sequence: index as u32,
            hits,
            ignored: 0,
        })
        .collect();
    verdicts.sort_by(by_class_then_best);
    let truths = |class| golden.truth_class.iter().filter(|&&c| c == class).count() as u32;
    let classes = || (0..4).map(|class| (of_class(&verdicts, class), truths(class)));

    let mut mean_f1 = Box::new([0.0; CONFIDENCE_POINTS]);
    let best = best_smoothed_f1(classes(), &mut mean_f1).unwrap();
    let mut map = [0.0; 2];
    for (class, (verdicts, truths)) in classes().enumerate() {
        let ap = average_precision::yolov5(verdicts, truths).unwrap();
        for (threshold, (found, expected)) in ap.at.iter().zip(golden.ap[class]).enumerate() {
            assert_close(*found, expected, 1e-12, &format!("AP {class} {threshold}"));
        }
        map[0] += ap.ap50() / 4.0;
        map[1] += ap.ap50_95() / 4.0;
        let at = precision_recall_at(verdicts, truths, best.point);
        assert_close(at.precision, golden.precision[class], 1e-12, "precision");
        assert_close(at.recall, golden.recall[class], 1e-12, "recall");
        assert_close(at.f1(), golden.f1[class], 1e-12, "F1");
    }
    assert_close(map[0], golden.map50, 1e-12, "mAP50");
    assert_close(map[1], golden.map50_95, 1e-12, "mAP50-95");
}

/// Sixty pictures: truths, and findings a little beside them, doubled, of another class or on
/// nothing; picture 7 has more findings than COCO looks at.
///
/// ```python
/// state = 2024
/// def draw(n):                      # ANSI C's generator: 15 bits a call
///     global state
///     state = (state * 1103515245 + 12345) % 2**31
///     return (state >> 16) % n
///
/// truths, found = [], []            # (image, class, x0, y0, w, h[, score])
/// for image in range(60):
///     here = [(draw(3), 10 * draw(56), 10 * draw(56), 24 + draw(50), 24 + draw(50)) for _ in range(draw(7))]
///     truths += [(image, *t) for t in here]
///     for c, x, y, w, h in here:
///         for _ in range(draw(3)):
///             c2 = draw(4) if draw(8) == 0 else c
///             found.append((image, c2, x + draw(13) - 6, y + draw(13) - 6, w + draw(9) - 4, h + draw(9) - 4,
///                           (6000 + draw(26000)) / 32768))
///     for _ in range(130 if image == 7 else draw(4)):
///         found.append((image, draw(4), draw(560), draw(560), 20 + draw(60), 20 + draw(60), draw(20000) / 32768))
/// ```
fn sixty_pictures() -> Vec<(Vec<Cell>, Vec<Detection>)> {
    let mut lcg = Lcg(2024);
    let mut pictures = Vec::new();
    for image in 0..60 {
        let mut truths = Vec::new();
        for _ in 0..lcg.draw(7) {
            let class = lcg.draw(3) as u8;
            let [x, y] = [0; 2].map(|_| 10.0 * lcg.draw(56) as f32);
            let [width, height] = [0; 2].map(|_| 24.0 + lcg.draw(50) as f32);
            truths.push((class, x, y, width, height));
        }
        let mut found = Vec::new();
        for &(class, x, y, width, height) in &truths {
            for _ in 0..lcg.draw(3) {
                let other = lcg.draw(8) == 0;
                let class = if other { lcg.draw(4) as u8 } else { class };
                let [dx, dy] = [0; 2].map(|_| lcg.draw(13) as f32 - 6.0);
                let [dw, dh] = [0; 2].map(|_| lcg.draw(9) as f32 - 4.0);
                let score = (6000 + lcg.draw(26_000)) as f32 / 32_768.0;
                found.push(finding(
                    class,
                    score,
                    x + dx,
                    y + dy,
                    width + dw,
                    height + dh,
                ));
            }
        }
        let n_on_nothing = if image == 7 { 130 } else { lcg.draw(4) };
        for _ in 0..n_on_nothing {
            let class = lcg.draw(4) as u8;
            let [x, y] = [0; 2].map(|_| lcg.draw(560) as f32);
            let [width, height] = [0; 2].map(|_| 20.0 + lcg.draw(60) as f32);
            let score = lcg.draw(20_000) as f32 / 32_768.0;
            found.push(finding(class, score, x, y, width, height));
        }
        found.sort_by(best_first);
        let cells = truths
            .into_iter()
            .map(|(class, x, y, width, height)| truth(Some(class), x, y, width, height));
        pictures.push((cells.collect(), found));
    }
    pictures
}

/// All truths and findings as one class.
fn as_one_class(pictures: &[(Vec<Cell>, Vec<Detection>)]) -> Vec<(Vec<Cell>, Vec<Detection>)> {
    let mut pictures = pictures.to_vec();
    for (truths, found) in &mut pictures {
        truths.iter_mut().for_each(|t| t.class = Some(ClassId(0)));
        found.iter_mut().for_each(|d| d.class = ClassId(0));
        found.sort_by(best_first);
    }
    pictures
}

fn truths_of(pictures: &[(Vec<Cell>, Vec<Detection>)], class: u8) -> u32 {
    let truths = pictures.iter().flat_map(|(truths, _)| truths);
    truths.filter(|t| t.class == Some(ClassId(class))).count() as u32
}

#[test]
fn the_table_of_coco_is_reproduced() {
    // With `truths` and `found` of `sixty_pictures`, pycocotools 2:
    //
    // def api(rows):
    //     c = COCO()
    //     c.dataset = dict(images=[dict(id=i) for i in range(60)], categories=[dict(id=k) for k in range(4)],
    //                      annotations=[dict(id=i + 1, image_id=r[0], category_id=r[1], bbox=list(r[2:6]),
    //                                        area=r[4] * r[5], iscrowd=0) for i, r in enumerate(rows)])
    //     c.createIndex(); return c
    // def coco_ap(truths, found):
    //     gt = api(truths)
    //     dt = gt.loadRes(np.array([[r[0], *r[2:6], r[6], r[1]] for r in found], float))
    //     e = COCOeval(gt, dt, 'bbox'); e.evaluate(); e.accumulate()
    //     p = e.eval['precision'][:, :, :, 0, 2]       # [iou, recall, class], all areas, 100 findings
    //     return [(p[0, :, k].mean(), p[:, :, k].mean()) for k in range(4)]
    // print(coco_ap(truths, found))
    // print(coco_ap([(t[0], 0, *t[2:]) for t in truths], [(f[0], 0, *f[2:]) for f in found])[0])
    const CLASSES: [(f64, f64); 3] = [
        (0.5275513022642803, 0.25262527948169144),
        (0.43347264973055827, 0.21945532270859347),
        (0.3987855282430809, 0.1706380507940394),
    ];
    const ONE_CLASS: (f64, f64) = (0.5035261053068706, 0.23505821881773478);

    let pictures = sixty_pictures();
    assert_eq!(pictures.iter().map(|(t, _)| t.len()).sum::<usize>(), 204);
    assert_eq!(pictures.iter().map(|(_, d)| d.len()).sum::<usize>(), 449);
    let verdicts = judge_all(&pictures, judge_coco);
    for (class, (ap50, ap50_95)) in (0..).zip(CLASSES) {
        let truths = truths_of(&pictures, class);
        let ap = average_precision::coco(of_class(&verdicts, class), truths).unwrap();
        assert_close(ap.ap50(), ap50, 1e-9, "AP50");
        assert_close(ap.ap50_95(), ap50_95, 1e-9, "AP50-95");
    }
    // Found, but nowhere in truth: pycocotools says -1.
    assert!(!of_class(&verdicts, 3).is_empty());
    assert_eq!(average_precision::coco(of_class(&verdicts, 3), 0), None);

    let cells = as_one_class(&pictures);
    let verdicts = judge_all(&cells, judge_coco);
    let ap = average_precision::coco(&verdicts, 204).unwrap();
    assert_close(ap.ap50(), ONE_CLASS.0, 1e-9, "AP50 of any cell");
    assert_close(ap.ap50_95(), ONE_CLASS.1, 1e-9, "AP50-95 of any cell");
}

#[test]
fn the_two_definitions_differ_a_little_on_the_same_findings() {
    // Hits and table of the same findings by YOLOv5's matching and `compute_ap`, written in NumPy:
    //
    // iou = lambda a, b: (lambda w, h: max(w, 0) * max(h, 0) / (a[2] * a[3] + b[2] * b[3] - max(w, 0) * max(h, 0)))(
    //     min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0]), min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1]))
    // found.sort(key=lambda f: -f[6])
    // hit = np.zeros((len(found), 10), bool)
    // for image in range(60):
    //     here = [i for i, f in enumerate(found) if f[0] == image]
    //     for k in range(10):
    //         m = np.array([(j, i, v) for j, t in enumerate(truths) if t[0] == image for i in here if found[i][1] == t[1]
    //                       for v in [iou(t[2:], found[i][2:])] if v >= 0.5 + 0.05 * k]).reshape(-1, 3)
    //         m = m[m[:, 2].argsort(kind='stable')[::-1]]
    //         m = m[np.unique(m[:, 1], return_index=True)[1]]
    //         m = m[np.unique(m[:, 0], return_index=True)[1]]
    //         hit[m[:, 1].astype(int), k] = True
    // for c in range(3):
    //     h = hit[[f[1] == c for f in found]]; n = sum(t[1] == c for t in truths); ap = []
    //     for k in range(10):
    //         tp = h[:, k].cumsum()
    //         r = np.r_[0, tp / n, 1]; p = np.r_[1, tp / np.arange(1, len(h) + 1), 0]
    //         x = np.linspace(0, 1, 101)
    //         ap.append(np.trapezoid(np.interp(x, r, np.maximum.accumulate(p[::-1])[::-1]), x))
    //     print(ap[0], np.mean(ap))
    const CLASSES: [(f64, f64); 3] = [
        (0.5844651153027544, 0.29392474969983623),
        (0.5033602663727736, 0.2708957402989142),
        (0.463209280961409, 0.21479903413455848),
    ];
    let pictures = sixty_pictures();
    let verdicts = judge_all(&pictures, judge_yolov5);
    for (class, (ap50, ap50_95)) in (0..).zip(CLASSES) {
        let truths = truths_of(&pictures, class);
        let ap = average_precision::yolov5(of_class(&verdicts, class), truths).unwrap();
        assert_close(ap.ap50(), ap50, 1e-9, "AP50");
        assert_close(ap.ap50_95(), ap50_95, 1e-9, "AP50-95");
    }
}

#[test]
fn perfect_findings_have_an_average_precision_of_one() {
    let pictures = [(
        vec![
            truth(Some(0), 0.0, 0.0, 20.0, 20.0),
            truth(Some(0), 50.0, 0.0, 20.0, 20.0),
        ],
        vec![
            finding(0, 0.9, 0.0, 0.0, 20.0, 20.0),
            finding(0, 0.8, 50.0, 0.0, 20.0, 20.0),
        ],
    )];
    let verdicts = judge_all(&pictures, judge_coco);
    assert_eq!(average_precision::coco(&verdicts, 2).unwrap().at, [1.0; 10]);
    let verdicts = judge_all(&pictures, judge_yolov5);
    // The last of the 101 points is the sentinel (1, 0): YOLOv5's perfect score is 0.995.
    let ap = average_precision::yolov5(&verdicts, 2).unwrap();
    assert_close(ap.ap50_95(), 0.995, 1e-12, "YOLOv5's best");
}

#[test]
fn a_class_without_truth_has_no_score_and_one_without_findings_has_zero() {
    let zero = AveragePrecision {
        at: [0.0; IOU_THRESHOLDS.len()],
    };
    assert_eq!(average_precision::yolov5(&[], 0), None);
    assert_eq!(average_precision::coco(&[], 0), None);
    assert_eq!(average_precision::yolov5(&[], 3), Some(zero));
    assert_eq!(average_precision::coco(&[], 3), Some(zero));
    assert_eq!(best_smoothed_f1([], &mut [0.0; CONFIDENCE_POINTS]), None);
}

#[test]
fn a_doubled_finding_is_an_extra_by_one_rule_and_moves_on_by_the_other() {
    // Two cells that overlap; both findings overlap the first most, the second reaches 0.5 on both.
    let pictures = [(
        vec![
            truth(Some(0), 0.0, 0.0, 100.0, 100.0),
            truth(Some(0), 30.0, 0.0, 100.0, 100.0),
        ],
        vec![
            finding(0, 0.9, 0.0, 0.0, 100.0, 100.0),
            finding(0, 0.8, 10.0, 0.0, 100.0, 100.0),
        ],
    )];
    let hits = |judge| {
        judge_all(&pictures, judge)
            .iter()
            .map(|v| v.is_hit(0))
            .collect::<Vec<_>>()
    };
    assert_eq!(hits(judge_yolov5), [true, false]);
    assert_eq!(hits(judge_coco), [true, true]);
}

#[test]
fn a_finding_on_a_cell_of_unsaid_class_is_neither_hit_nor_extra() {
    let pictures = [(
        vec![
            truth(None, 0.0, 0.0, 20.0, 20.0),
            truth(Some(1), 50.0, 0.0, 20.0, 20.0),
        ],
        vec![
            // On the unsaid cell with an overlap of 0.8.
            finding(1, 0.9, 0.0, 0.0, 20.0, 16.0),
            finding(1, 0.7, 50.0, 0.0, 20.0, 20.0),
        ],
    )];
    for judge in [judge_yolov5 as Judge, judge_coco] {
        let verdicts = judge_all(&pictures, judge);
        assert_eq!(verdicts[0].hits, 0);
        assert!(verdicts[0].is_ignored(0) && verdicts[0].is_ignored(6));
        assert!(!verdicts[0].is_ignored(7), "an extra at 0.85");
        let ap = average_precision::coco(&verdicts, 1).unwrap();
        assert_eq!((ap.at[0], ap.at[7]), (1.0, 0.5));

        let verdicts = judge_all(&as_one_class(&pictures), judge);
        let ap = average_precision::coco(&verdicts, 2).unwrap();
        assert_eq!(ap.ap50(), 1.0, "both are white cells");
    }
}

#[test]
fn pairs_are_made_by_overlap_and_one_to_one() {
    let truths = [
        truth(Some(0), 0.0, 0.0, 100.0, 100.0),
        truth(Some(0), 30.0, 0.0, 100.0, 100.0),
    ];
    let found = [
        finding(0, 0.9, 10.0, 0.0, 100.0, 100.0),
        finding(3, 0.8, 1.0, 0.0, 100.0, 100.0),
        finding(0, 0.7, 500.0, 0.0, 100.0, 100.0),
    ];
    let (mut of_truth, mut of_found) = ([None; 2], [None; 3]);
    let n = pair_by_overlap(&truths, &found, 0.5, &mut of_truth, &mut of_found);
    assert_eq!(
        (n, of_truth, of_found),
        (2, [Some(1), Some(0)], [Some(1), Some(0), None])
    );
    let n = pair_by_overlap(&truths, &found, 0.9, &mut of_truth, &mut of_found);
    assert_eq!(
        (n, of_truth, of_found),
        (1, [Some(1), None], [None, Some(0), None])
    );
}

#[test]
fn the_reference_takes_the_largest_overlap_however_small() {
    let cell = truth(Some(0), 0.0, 0.0, 10.0, 10.0);
    let far = finding(0, 0.9, 100.0, 0.0, 10.0, 10.0);
    let near = finding(5, 0.1, 9.0, 9.0, 10.0, 10.0);
    assert_eq!(
        largest_overlap_without_threshold(&cell, &[far, near]),
        Some(1)
    );
    assert_eq!(
        largest_overlap_without_threshold(&cell, &[far, far]),
        Some(0)
    );
    assert_eq!(largest_overlap_without_threshold(&cell, &[]), None);
}

#[test]
fn a_cell_found_as_two_classes_is_counted_once() {
    let found = [
        finding(0, 0.9, 0.0, 0.0, 20.0, 20.0),
        finding(1, 0.3, 0.0, 0.0, 20.0, 20.0),
        finding(1, 0.2, 40.0, 0.0, 20.0, 20.0),
    ];
    let mut kept = [0; 3];
    let n = one_finding_a_cell(&found, 0.6, &mut kept);
    assert_eq!(kept[..n], [0, 2]);
}

/// Numbers of scikit-learn and NumPy for the tests below, from one stream of draws:
///
/// ```python
/// state = 7                                   # and draw(n) as above
/// pairs = []                                  # truth and finding of 400 cells, 4 = no cell; never both
/// while len(pairs) < 400:
///     t, f = draw(5), draw(5)
///     f = t if draw(3) else f
///     if (t, f) != (4, 4): pairs.append((t, f))
/// t, f = np.array(pairs).T
/// print(precision_recall_fscore_support(t, f, labels=range(4)), f1_score(t, f, labels=range(4), average='macro'))
///
/// rows = []                                   # an attribute of three values, 2 never labelled; 3 = missed
/// for _ in range(300):
///     t, f = draw(2), draw(4)
///     rows.append((t, t if draw(2) else f))
/// t, f = np.array(rows).T
/// print(accuracy_score(t, f), f1_score(t, f, labels=[0, 1, 2], average='macro'), f1_score(t, f, labels=[0, 1, 2], average=None))
/// k = f != 3
/// print(accuracy_score(t[k], f[k]), f1_score(t[k], f[k], average='macro'), k.sum())
///
/// rows = [(draw(1001), draw(2)) for _ in range(500)]
/// c = np.array([np.float32(a) / np.float32(1000) for a, _ in rows], float); y = np.array([b for _, b in rows])
/// edges = np.linspace(0, 1, 16); ece = 0
/// for k, (lo, hi) in enumerate(zip(edges[:-1], edges[1:])):
///     m = ((c > lo) | (k == 0)) & (c <= hi)
///     if m.any(): ece += m.sum() / 500 * abs(y[m].mean() - c[m].mean())
/// print(ece)
///
/// a = np.array([[draw(12), draw(12)] for _ in range(50)]); d = a[:, 1] - a[:, 0]
/// print(d.mean(), abs(d).mean(), d.mean() - 1.96 * d.std(ddof=1), d.mean() + 1.96 * d.std(ddof=1), a.sum(0))
/// ```
#[test]
fn confusion_attributes_reliability_and_agreement_are_those_of_independent_tools() {
    let mut lcg = Lcg(7);
    check_confusion(&mut lcg);
    check_attributes(&mut lcg);
    check_reliability(&mut lcg);
    check_agreement(&mut lcg);
}

fn check_confusion(lcg: &mut Lcg) {
    let mut counts = [0; confusion_len(4)];
    let mut matrix = ConfusionMatrix::new(4, &mut counts);
    let mut n = 0;
    while n < 400 {
        let (truth, other) = (lcg.draw(5) as u8, lcg.draw(5) as u8);
        let found = if lcg.draw(3) > 0 { truth } else { other };
        match (truth, found) {
            (4, 4) => continue,
            (4, found) => matrix.add_extra(ClassId(found)),
            (truth, 4) => matrix.add_truth(Some(ClassId(truth)), None),
            (truth, found) => matrix.add_truth(Some(ClassId(truth)), Some(ClassId(found))),
        }
        n += 1;
    }
    const PRECISION: [f64; 4] = [0.76744186, 0.71287129, 0.69318182, 0.76530612];
    const RECALL: [f64; 4] = [0.77647059, 0.76595745, 0.63541667, 0.75];
    const F1: [f64; 4] = [0.77192982, 0.73846154, 0.66304348, 0.75757576];
    const TRUTHS: [u32; 4] = [85, 94, 96, 100];
    for class in 0..4 {
        let found = matrix.class(ClassId(class as u8));
        assert_close(
            found.precision().unwrap(),
            PRECISION[class],
            1e-8,
            "precision",
        );
        assert_close(found.recall().unwrap(), RECALL[class], 1e-8, "recall");
        assert_close(found.f1().unwrap(), F1[class], 1e-8, "F1");
        assert_eq!(found.truths(), TRUTHS[class]);
    }
    assert_close(
        matrix.macro_f1().unwrap(),
        0.7327526497148922,
        1e-12,
        "macro-F1",
    );
    assert_eq!(matrix.rows().flatten().sum::<u32>(), 400);
    assert_eq!(matrix.at(4, 4), 0);
}

fn check_attributes(lcg: &mut Lcg) {
    let (mut end_to_end, mut on_found) = (AttributeTally::default(), AttributeTally::default());
    for _ in 0..300 {
        let (truth, other) = (lcg.draw(2) as usize, lcg.draw(4) as usize);
        let found = if lcg.draw(2) > 0 { truth } else { other };
        let value = (found < 3).then(|| ValueId::new(found).unwrap());
        end_to_end.add(ValueId::new(truth), value);
        if value.is_some() {
            on_found.add(ValueId::new(truth), value);
        }
    }
    assert_close(
        end_to_end.accuracy().unwrap(),
        0.6133333333333333,
        1e-12,
        "accuracy",
    );
    assert_close(
        end_to_end.macro_f1().unwrap(),
        0.46800973236009735,
        1e-12,
        "macro-F1",
    );
    for (value, f1) in [0.696, 0.708029197080292, 0.0].into_iter().enumerate() {
        let found = end_to_end.f1(ValueId::new(value).unwrap()).unwrap();
        assert_close(found, f1, 1e-12, "F1 of a value");
    }
    assert_eq!(on_found.labelled(), 261);
    assert_close(
        on_found.accuracy().unwrap(),
        0.7049808429118773,
        1e-12,
        "accuracy",
    );
    assert_close(
        on_found.macro_f1().unwrap(),
        0.505540795240366,
        1e-12,
        "macro-F1",
    );
}

fn check_reliability(lcg: &mut Lcg) {
    let mut reliability = Reliability::default();
    for _ in 0..500 {
        let confidence = lcg.draw(1001) as f32 / 1000.0;
        reliability.add(Score::new(confidence).unwrap(), lcg.draw(2) == 1);
    }
    assert_eq!(reliability.bins().iter().map(|bin| bin.n).sum::<u32>(), 500);
    let error = reliability.expected_error().unwrap();
    assert_close(error, 0.2837120007802732, 1e-12, "ECE");
}

fn check_agreement(lcg: &mut Lcg) {
    let mut agreement = CountAgreement::default();
    for _ in 0..50 {
        let (truth, found) = (lcg.draw(12) as u32, lcg.draw(12) as u32);
        agreement.add(truth, found);
    }
    assert_eq!((agreement.pictures(), agreement.totals()), (50, (292, 307)));
    assert_close(agreement.bias().unwrap(), 0.3, 1e-12, "bias");
    assert_close(agreement.mean_absolute_error().unwrap(), 4.1, 1e-12, "MAE");
    let (lower, upper) = agreement.limits().unwrap();
    assert_close(lower, -9.46594081489336, 1e-12, "lower limit");
    assert_close(upper, 10.065940814893361, 1e-12, "upper limit");
}

#[test]
fn nothing_measured_is_none_and_never_zero() {
    let mut counts = [0; confusion_len(2)];
    let matrix = ConfusionMatrix::new(2, &mut counts);
    assert_eq!(matrix.macro_f1(), None);
    assert_eq!(matrix.class(ClassId(0)).precision(), None);
    let mut tally = AttributeTally::default();
    tally.add(None, ValueId::new(1));
    assert_eq!(
        (tally.labelled(), tally.accuracy(), tally.macro_f1()),
        (0, None, None)
    );
    assert_eq!(Reliability::default().expected_error(), None);
    let mut agreement = CountAgreement::default();
    assert_eq!(
        (agreement.bias(), agreement.mean_absolute_error()),
        (None, None)
    );
    agreement.add(3, 5);
    assert_eq!((agreement.bias(), agreement.limits()), (Some(2.0), None));
}

#[test]
fn cells_of_unsaid_class_and_foreign_classes_are_counted_beside_the_matrix() {
    let mut counts = [0; confusion_len(2)];
    let mut matrix = ConfusionMatrix::new(2, &mut counts);
    matrix.add_truth(None, Some(ClassId(1)));
    matrix.add_truth(None, None);
    matrix.add_extra(ClassId(9));
    assert_eq!((matrix.unsaid(), matrix.foreign()), ((1, 1), 1));
    assert_eq!(matrix.rows().flatten().sum::<u32>(), 0);
}
