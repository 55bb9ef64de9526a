//! What stands between convolutions, against numbers worked by hand and plain formulas.

use int8::{Add, Shape, Table, concat, dequantize_planes, max_pool, quantize_planes, upsample};

const TWO: Shape = Shape {
    height: 2,
    width: 2,
    channels: 3,
};

#[test]
fn sums_are_taken_on_the_scale_of_the_output() {
    let add = Add {
        zero_points: [10, 20],
        ratios: [0.5, 2.0],
        zero_point: 100,
        range: [0, 255],
    };
    let mut out = [0; 6];
    // (14-10)*.5 + (21-20)*2 = 4; (11-10)*.5 = .5, to even 0; (13-10)*.5 = 1.5, to even 2; clamped on
    // both sides; (0-10)*.5 = -5 and (20-20)*2 = 0.
    add.run(
        &[14, 11, 13, 255, 0, 0],
        &[21, 20, 20, 255, 0, 20],
        &mut out,
    );
    assert_eq!(out, [104, 100, 102, 255, 55, 95]);
    let positive = Add {
        range: [100, 255],
        ..add
    };
    positive.run(
        &[14, 11, 13, 255, 0, 0],
        &[21, 20, 20, 255, 0, 20],
        &mut out,
    );
    assert_eq!(out, [104, 100, 102, 255, 100, 100]);
}

#[test]
fn pooling_takes_the_largest_inside_the_map() {
    let input = Shape {
        height: 5,
        width: 7,
        channels: 3,
    };
    let x: Vec<u8> = (0..105u32).map(|at| (at * 89 % 251) as u8).collect();
    for [side, stride, padding] in [
        [[5, 5], [1, 1], [2, 2]],
        [[2, 2], [2, 2], [0, 0]],
        [[3, 2], [2, 1], [1, 0]],
    ] {
        let along =
            |size: usize, axis: usize| (size + 2 * padding[axis] - side[axis]) / stride[axis] + 1;
        let output = Shape {
            height: along(5, 0),
            width: along(7, 1),
            channels: 3,
        };
        let mut out = vec![0; output.len()];
        max_pool(&x, input, [side, stride, padding], &mut out, output);
        for (at, &found) in out.iter().enumerate() {
            let (channel, column, row) = (at % 3, at / 3 % output.width, at / 3 / output.width);
            let mut expected = 0;
            for y in (0..5).filter(|&y| {
                (row * stride[0]..row * stride[0] + side[0]).contains(&(y + padding[0]))
            }) {
                for c in (0..7).filter(|&c| {
                    (column * stride[1]..column * stride[1] + side[1]).contains(&(c + padding[1]))
                }) {
                    expected = expected.max(x[(y * 7 + c) * 3 + channel]);
                }
            }
            assert_eq!(found, expected, "{side:?} at {row} {column} {channel}");
        }
    }
}

#[test]
fn upsampling_repeats_pixels() {
    let x = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    let mut out = [0; 12 * 6];
    upsample(&x, TWO, [2, 3], &mut out);
    for (at, pixel) in out.chunks(3).enumerate() {
        let (row, column) = (at / 6 / 2, at % 6 / 3);
        assert_eq!(pixel, &x[(row * 2 + column) * 3..][..3], "{at}");
    }
}

#[test]
fn joined_maps_stand_side_by_side_on_one_scale() {
    let doubled = Table::new(|byte| byte.wrapping_mul(2));
    for n in [1, 3, 16, 32, 64, 128] {
        let a: Vec<u8> = (0..2 * n).map(|at| at as u8).collect();
        let mut out = vec![0; 2 * (n + 2)];
        concat(
            &[(&a, n, None), (&[1, 2, 3, 4], 2, Some(&doubled))],
            &mut out,
        );
        assert_eq!(out[..n], a[..n]);
        assert_eq!(out[n..n + 2], [2, 4]);
        assert_eq!(out[n + 2..2 * n + 2], a[n..]);
        assert_eq!(out[2 * n + 2..], [6, 8]);
    }
}

#[test]
fn floats_become_bytes_and_come_back() {
    // Planes of channels 0, 1, 2.
    let x = [
        0.0,
        0.5,
        1.5,
        -1.0,
        1e9,
        -1e9,
        f32::NAN,
        2.4,
        127.0,
        128.0,
        -128.0,
        3.5,
    ];
    let mut bytes = [0; 12];
    quantize_planes(&x, TWO, 1.0, 128, &mut bytes);
    // Halves go to even; pixels have their three channels side by side.
    assert_eq!(
        bytes,
        [128, 255, 255, 128, 0, 255, 130, 128, 0, 127, 130, 132]
    );
    let mut back = [0.0; 12];
    dequantize_planes(&bytes, TWO, 0.5, 128, &mut back);
    assert_eq!(back[..4], [0.0, 0.0, 1.0, -0.5]);
    assert_eq!(back[8..], [63.5, 63.5, -64.0, 2.0]);
}
