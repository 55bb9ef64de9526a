//! Projective maps of the plane; affine ones are the usual case.

/// Points that a perspective magnifies more than the inverse of this are behind the horizon.
const DEPTH_MIN: f64 = 0.1;

/// `(x, y, 1)` to `(x', y', w)`, rows first; pixel centres lie at halves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Projective {
    m: [[f64; 3]; 3],
}

impl Projective {
    /// Leaves everything where it is.
    pub const IDENTITY: Self = Self::linear(1.0, 0.0, 0.0, 1.0);

    /// A move.
    pub const fn shift(x: f64, y: f64) -> Self {
        Self {
            m: [[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]],
        }
    }

    /// A linear map around the origin: `x' = a x + b y`, `y' = d x + e y`.
    pub const fn linear(a: f64, b: f64, d: f64, e: f64) -> Self {
        Self {
            m: [[a, b, 0.0], [d, e, 0.0], [0.0, 0.0, 1.0]],
        }
    }

    /// Tilts the plane about the origin: what is at `(x, y)` is divided by `1 + px x + py y`.
    pub const fn tilt(px: f64, py: f64) -> Self {
        Self {
            m: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [px, py, 1.0]],
        }
    }

    /// Whether parallels stay parallel.
    pub fn is_affine(&self) -> bool {
        self.m[2] == [0.0, 0.0, 1.0]
    }

    /// First `self`, then `next`.
    pub fn then(&self, next: &Self) -> Self {
        let mut m = [[0.0; 3]; 3];
        for (row, factors) in m.iter_mut().zip(next.m) {
            for (column, value) in row.iter_mut().enumerate() {
                *value = (0..3).map(|k| factors[k] * self.m[k][column]).sum();
            }
        }
        Self { m }
    }

    /// The way back; `None` when the map flattens the plane.
    pub fn inverse(&self) -> Option<Self> {
        let m = &self.m;
        let minor = |row: usize, column: usize| {
            let (r, c) = (
                [(row + 1) % 3, (row + 2) % 3],
                [(column + 1) % 3, (column + 2) % 3],
            );
            m[r[0]][c[0]] * m[r[1]][c[1]] - m[r[0]][c[1]] * m[r[1]][c[0]]
        };
        let det: f64 = (0..3).map(|column| m[0][column] * minor(0, column)).sum();
        if !det.is_finite() || det.abs() < 1e-9 {
            return None;
        }
        let mut back = [[0.0; 3]; 3];
        for (row, values) in back.iter_mut().enumerate() {
            for (column, value) in values.iter_mut().enumerate() {
                *value = minor(column, row) / det;
            }
        }
        if self.is_affine() {
            back[2] = [0.0, 0.0, 1.0];
        }
        Some(Self { m: back })
    }

    /// Where a point goes: `(x', y', w)`, still to be divided by `w`.
    pub fn point(&self, x: f64, y: f64) -> [f64; 3] {
        self.m.map(|[a, b, c]| a * x + b * y + c)
    }

    /// What one step along x adds to [`Projective::point`].
    pub fn step(&self) -> [f64; 3] {
        self.m.map(|[a, _, _]| a)
    }

    /// Whether a point of the source at which the way back has this `w` is before the horizon.
    pub fn is_seen(back_w: f64) -> bool {
        back_w > 0.0 && back_w < 1.0 / DEPTH_MIN
    }

    /// The upright box around the image of the ellipse that fills an upright box `[x0, y0, x1, y1]`: cells are
    /// round, and the box around the corners of a turned box would be up to 1.41 times too wide. A map that
    /// tilts the plane gives the box of the corners; `None` as for [`Projective::bbox`].
    pub fn ellipse_bbox(&self, bbox: [f32; 4]) -> Option<[f32; 4]> {
        if !self.is_affine() {
            return self.bbox(bbox);
        }
        let [x0, y0, x1, y1] = bbox.map(f64::from);
        let [x, y, _] = self.point((x0 + x1) / 2.0, (y0 + y1) / 2.0);
        let half = |[a, b, _]: [f64; 3]| (a * (x1 - x0) / 2.0).hypot(b * (y1 - y0) / 2.0);
        let (w, h) = (half(self.m[0]), half(self.m[1]));
        Some([x - w, y - h, x + w, y + h].map(|v| v as f32))
    }

    /// The upright box around the image of an upright box `[x0, y0, x1, y1]`, as far as it is
    /// before the horizon; `None` when nothing of it is.
    pub fn bbox(&self, [x0, y0, x1, y1]: [f32; 4]) -> Option<[f32; 4]> {
        let [x0, y0, x1, y1] = [x0, y0, x1, y1].map(f64::from);
        let corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)].map(|(x, y)| self.point(x, y));
        let mut bounds = [f64::MAX, f64::MAX, f64::MIN, f64::MIN];
        let mut add = |[x, y, w]: [f64; 3]| {
            let (x, y) = (x / w, y / w);
            bounds = [
                bounds[0].min(x),
                bounds[1].min(y),
                bounds[2].max(x),
                bounds[3].max(y),
            ];
        };
        for (at, from) in corners.iter().enumerate() {
            let to = &corners[(at + 1) % 4];
            if from[2] >= DEPTH_MIN {
                add(*from);
            }
            if (from[2] >= DEPTH_MIN) != (to[2] >= DEPTH_MIN) {
                // Where the side crosses the horizon.
                let t = (DEPTH_MIN - from[2]) / (to[2] - from[2]);
                add([0, 1, 2].map(|k| from[k] + (to[k] - from[k]) * t));
            }
        }
        (bounds[0] <= bounds[2]).then(|| bounds.map(|v| v as f32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_and_its_inverse_cancel() {
        let affine = Projective::linear(0.6, -0.8, 0.9, 0.5).then(&Projective::shift(3.0, -7.0));
        let tilted = Projective::tilt(0.001, -0.0004).then(&affine);
        for map in [affine, tilted] {
            let back = map.then(&map.inverse().expect("not flat"));
            for (got, expected) in back
                .m
                .iter()
                .flatten()
                .zip(Projective::IDENTITY.m.iter().flatten())
            {
                assert!((got - expected).abs() < 1e-12, "{back:?}");
            }
        }
        assert_eq!(Projective::linear(1.0, 2.0, 2.0, 4.0).inverse(), None);
    }

    #[test]
    fn a_turned_cell_keeps_its_size() {
        let (sin, cos) = 45_f64.to_radians().sin_cos();
        let turn = Projective::linear(cos, -sin, sin, cos);
        let near = |found: Option<[f32; 4]>, expected: [f32; 4]| {
            let found = found.expect("an affine map sees everything");
            let apart = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
            assert!(apart.fold(0.0, f32::max) < 1e-5, "{found:?} {expected:?}");
        };
        near(
            turn.ellipse_bbox([-3.0, -3.0, 3.0, 3.0]),
            [-3.0, -3.0, 3.0, 3.0],
        );
        // Half axes 4 and 2: sqrt((16 + 4) / 2).
        let half = 10_f32.sqrt();
        near(
            turn.ellipse_bbox([-4.0, -2.0, 4.0, 2.0]),
            [-half, -half, half, half],
        );
        // Where axes stay axes, corners and ellipse agree.
        let quarter = Projective::linear(0.0, -1.5, 1.5, 0.0).then(&Projective::shift(2.0, 7.0));
        let cell = [1.0, 2.0, 4.0, 8.0];
        near(
            quarter.ellipse_bbox(cell),
            quarter.bbox(cell).expect("seen"),
        );
        let tilted = Projective::tilt(0.01, 0.0);
        assert_eq!(tilted.ellipse_bbox(cell), tilted.bbox(cell));
    }

    #[test]
    fn a_box_is_cut_at_the_horizon() {
        // w = 1 + x / 100: at x = -90 it is 0.1, what is left of that is not seen.
        let map = Projective::tilt(0.01, 0.0);
        let bbox = map.bbox([-150.0, 0.0, 0.0, 10.0]).expect("half is seen");
        for (got, expected) in bbox.into_iter().zip([-900.0, 0.0, 0.0, 100.0]) {
            assert!((got - expected).abs() < 1e-3, "{bbox:?}");
        }
        assert_eq!(map.bbox([-150.0, 0.0, -100.0, 10.0]), None);
        assert_eq!(
            Projective::shift(2.0, 1.0).bbox([0.0, 0.0, 3.0, 4.0]),
            Some([2.0, 1.0, 5.0, 5.0])
        );
    }
}
