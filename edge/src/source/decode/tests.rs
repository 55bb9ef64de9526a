use super::*;

const fn layout(format: PixelFormat, width: u32, height: u32, bytes_per_line: u32) -> Layout {
    Layout {
        format,
        size: Size::new(width, height),
        bytes_per_line,
        matrix: Matrix::Bt601,
        range: Range::Limited,
    }
}

fn decoded(bytes: &[u8], layout: &Layout) -> Result<Frame, DecodeError> {
    let mut frame = Frame::new();
    decode(bytes, layout, &mut frame).map(|()| frame)
}

#[test]
fn the_colours_of_the_standard_bars_come_out() {
    // Y, U, V of 100 % bars from the standards, rounded; each R, G, B is within 2 of full or none.
    struct Bars {
        matrix: Matrix,
        range: Range,
        bars: [([u8; 3], [u8; 3]); 6],
    }
    let on = [0, 255];
    let rgb = |bits: usize| [on[bits >> 2 & 1], on[bits >> 1 & 1], on[bits & 1]];
    let (white, yellow, cyan, green, red, black) = (rgb(7), rgb(6), rgb(3), rgb(2), rgb(4), rgb(0));
    for Bars {
        matrix,
        range,
        bars,
    } in [
        Bars {
            matrix: Matrix::Bt601,
            range: Range::Limited,
            bars: [
                ([235, 128, 128], white),
                ([210, 16, 146], yellow),
                ([170, 166, 16], cyan),
                ([145, 54, 34], green),
                ([81, 90, 240], red),
                ([16, 128, 128], black),
            ],
        },
        Bars {
            matrix: Matrix::Bt601,
            range: Range::Full,
            bars: [
                ([255, 128, 128], white),
                ([226, 0, 149], yellow),
                ([179, 171, 0], cyan),
                ([150, 44, 21], green),
                ([76, 85, 255], red),
                ([0, 128, 128], black),
            ],
        },
        Bars {
            matrix: Matrix::Bt709,
            range: Range::Limited,
            bars: [
                ([235, 128, 128], white),
                ([219, 16, 138], yellow),
                ([188, 154, 16], cyan),
                ([173, 42, 26], green),
                ([63, 102, 240], red),
                ([16, 128, 128], black),
            ],
        },
        Bars {
            matrix: Matrix::Bt709,
            range: Range::Full,
            bars: [
                ([255, 128, 128], white),
                ([237, 0, 140], yellow),
                ([201, 157, 0], cyan),
                ([182, 30, 12], green),
                ([54, 99, 255], red),
                ([0, 128, 128], black),
            ],
        },
    ] {
        for ([y, u, v], expected) in bars {
            let layout = Layout {
                matrix,
                range,
                ..layout(PixelFormat::Yuyv, 2, 1, 4)
            };
            let frame = decoded(&[y, u, y, v], &layout).unwrap();
            for (found, expected) in frame.pixels.iter().zip(expected.iter().cycle()) {
                assert!(
                    found.abs_diff(*expected) <= 2,
                    "{matrix:?} {range:?} {:?}: {:?}",
                    [y, u, v],
                    frame.pixels
                );
            }
        }
    }
}

#[test]
fn padded_rows_and_odd_sides_keep_every_pixel_in_its_place() {
    // A grey of y comes out as (298 * (y - 16) + 128) >> 8; rows are padded with 200.
    let grey = |y: i32| ((298 * (y - 16) + 128) >> 8) as u8;
    let expected: Vec<u8> = [20, 40, 60, 80, 100, 120, 140, 160, 180]
        .iter()
        .flat_map(|&y| [grey(y); 3])
        .collect();
    let yuyv = [
        [20, 128, 40, 128, 60, 128, 0, 128, 200, 200],
        [80, 128, 100, 128, 120, 128, 0, 128, 200, 200],
        [140, 128, 160, 128, 180, 128, 0, 128, 200, 200],
    ]
    .concat();
    let nv12 = [
        [20, 40, 60, 200, 200],
        [80, 100, 120, 200, 200],
        [140, 160, 180, 200, 200],
        [128, 128, 128, 128, 200],
        [128, 128, 128, 128, 200],
    ]
    .concat();
    for (bytes, layout, unpadded) in [
        (yuyv, layout(PixelFormat::Yuyv, 3, 3, 10), 28),
        (nv12, layout(PixelFormat::Nv12, 3, 3, 5), 24),
    ] {
        for len in [bytes.len(), unpadded] {
            let frame = decoded(&bytes[..len], &layout).unwrap();
            assert_eq!(frame.pixels, expected, "{}", layout.format);
        }
        assert_eq!(
            decoded(&bytes[..unpadded - 1], &layout)
                .unwrap_err()
                .to_string(),
            format!(
                "{} frame of {} bytes, expected at least {unpadded}",
                layout.format,
                unpadded - 1
            )
        );
    }
    let bytes = [1, 2, 9, 9, 3, 4];
    let frame = decoded(&bytes, &layout(PixelFormat::Grey, 2, 2, 4)).unwrap();
    assert_eq!(frame.pixels, [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]);
}

#[test]
fn nv12_colours_four_pixels_with_one_pair() {
    let bytes = [[81, 81, 145, 145], [81, 81, 145, 145], [90, 240, 54, 34]].concat();
    let frame = decoded(&bytes, &layout(PixelFormat::Nv12, 4, 2, 4)).unwrap();
    for (at, pixel) in frame.pixels.chunks_exact(3).enumerate() {
        let expected = if at % 4 < 2 { [254, 0, 0] } else { [0, 255, 1] };
        assert!(
            pixel.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 1),
            "pixel {at}: {pixel:?}"
        );
    }
}

#[test]
fn a_layout_that_no_picture_has_is_refused() {
    for format in [PixelFormat::Yuyv, PixelFormat::Nv12, PixelFormat::Grey] {
        for (width, height) in [(0, 2), (2, 0)] {
            let error = decoded(&[0; 64], &layout(format, width, height, 8)).unwrap_err();
            assert_eq!(error.reason(), DamageReason::Size, "{format}");
        }
        let error = decoded(&[0; 64], &layout(format, 8, 2, 1)).unwrap_err();
        assert!(
            matches!(error, DecodeError::Rows { found: 1, .. }),
            "{error}"
        );
        let huge = layout(format, u32::MAX, u32::MAX, u32::MAX);
        assert!(decoded(&[0; 64], &huge).is_err());
    }
}

const JPEG: Layout = layout(PixelFormat::Mjpeg, 32, 16, 0);

/// A JPEG of a ramp, 32 x 16 unless said otherwise.
fn jpeg(size: Size, colours: image::ExtendedColorType) -> Vec<u8> {
    let channels = usize::from(colours.channel_count());
    let area = size.area().unwrap();
    let ramp: Vec<u8> = (0..area * channels)
        .map(|at| (at / channels % size.width as usize * 255 / size.width as usize) as u8)
        .collect();
    let mut bytes = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 95)
        .encode(&ramp, size.width, size.height, colours)
        .unwrap();
    bytes
}

fn ramp() -> Vec<u8> {
    jpeg(JPEG.size, image::ExtendedColorType::Rgb8)
}

fn assert_ramp(frame: &Frame) {
    for (at, pixel) in frame.pixels.chunks_exact(3).enumerate() {
        let expected = (at % 32 * 255 / 32) as u8;
        assert!(
            pixel.iter().all(|value| value.abs_diff(expected) < 10),
            "pixel {at}: {pixel:?}, expected {expected}"
        );
    }
}

/// The segments of `bytes` without those of a marker.
fn without(bytes: &[u8], marker: u8) -> Vec<u8> {
    let mut out = bytes[..2].to_vec();
    let mut at = 2;
    while bytes[at + 1] != 0xda {
        let end = at + 2 + usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
        if bytes[at + 1] != marker {
            out.extend(&bytes[at..end]);
        }
        at = end;
    }
    out.extend(&bytes[at..]);
    out
}

#[test]
fn a_whole_jpeg_is_decoded_and_its_length_kept_without_the_zeros_behind() {
    let bytes = ramp();
    let mut padded = bytes.clone();
    padded.resize(bytes.len() + 1000, 0);
    for given in [&bytes, &padded] {
        let frame = decoded(given, &JPEG).unwrap();
        assert_ramp(&frame);
        assert_eq!(frame.compressed_bytes, Some(bytes.len() as u32));
    }
}

#[test]
fn a_grey_jpeg_is_decoded() {
    let frame = decoded(&jpeg(JPEG.size, image::ExtendedColorType::L8), &JPEG).unwrap();
    assert_eq!(frame.pixels.len(), 32 * 16 * 3);
    assert_ramp(&frame);
}

#[test]
fn a_camera_that_leaves_out_the_usual_huffman_tables_is_understood() {
    const HUFFMAN_TABLES: u8 = 0xc4;
    let bare = without(&ramp(), HUFFMAN_TABLES);
    assert!(bare.len() + 100 < ramp().len());
    assert_ramp(&decoded(&bare, &JPEG).unwrap());
}

#[test]
fn the_orientation_of_an_exif_header_does_not_turn_a_frame() {
    // TIFF, little endian, one directory at 8 with one entry: orientation (0x0112), a short: 6, a
    // quarter turn.
    let tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let mut bytes = vec![0xff, 0xd8, 0xff, 0xe1, 0, (2 + 6 + tiff.len()) as u8];
    bytes.extend(b"Exif\0\0");
    bytes.extend(tiff);
    bytes.extend(&ramp()[2..]);
    let turned = crate::picture::decode(&bytes).expect("a whole picture");
    assert_eq!(
        turned.size(),
        Size::new(16, 32),
        "the header asks for a turn"
    );
    assert_ramp(&decoded(&bytes, &JPEG).unwrap());
}

#[test]
fn a_jpeg_cut_anywhere_is_refused() {
    let bytes = ramp();
    for len in 0..bytes.len() {
        let error = decoded(&bytes[..len], &JPEG).expect_err("cut");
        let expected = match len {
            0 => DamageReason::Empty,
            _ => DamageReason::Markers,
        };
        assert_eq!(error.reason(), expected, "cut to {len}: {error}");
    }
    let mut zeroed = bytes.clone();
    zeroed[bytes.len() / 2..].fill(0);
    assert_eq!(
        decoded(&zeroed, &JPEG).unwrap_err().reason(),
        DamageReason::Markers,
        "a buffer of the right length whose second half never came"
    );
}

#[test]
fn what_is_no_jpeg_of_the_agreed_size_and_colours_is_refused_with_its_reason() {
    // Behind the marker of the frame: length (2), precision, height (2), width (2), components.
    let with = |at: usize, values: &[u8]| {
        let mut bytes = ramp();
        let frame = bytes.windows(2).position(|two| two == [0xff, 0xc0]);
        bytes[frame.unwrap() + 2 + at..][..values.len()].copy_from_slice(values);
        bytes
    };
    for (bytes, reason, message) in [
        (
            vec![0; 64],
            DamageReason::Markers,
            "JPEG frame starts with [00, 00], expected [ff, d8]",
        ),
        (
            vec![0xff],
            DamageReason::Markers,
            "JPEG frame starts with [ff, 00], expected [ff, d8]",
        ),
        (
            b"\x89PNG\r\n\x1a\n".to_vec(),
            DamageReason::Markers,
            "JPEG frame starts with [89, 50], expected [ff, d8]",
        ),
        (
            jpeg(Size::new(1, 1), image::ExtendedColorType::Rgb8),
            DamageReason::Size,
            "frame of 1x1, expected 32x16",
        ),
        (
            with(3, &[0xff; 4]),
            DamageReason::Size,
            "frame of 65535x65535, expected 32x16",
        ),
        (
            jpeg(Size::new(16, 32), image::ExtendedColorType::Rgb8),
            DamageReason::Size,
            "frame of 16x32, expected 32x16",
        ),
        (
            with(7, &[4]),
            DamageReason::Colours,
            "JPEG frame of 4 colour components, expected 1 or 3",
        ),
    ] {
        let error = decoded(&bytes, &JPEG).unwrap_err();
        assert_eq!(
            (error.reason(), error.to_string().as_str()),
            (reason, message)
        );
    }
}

#[test]
fn a_jpeg_with_any_byte_changed_is_decoded_or_refused_and_never_a_panic() {
    let bytes = ramp();
    let mut refused = 0;
    for at in 0..bytes.len() {
        for with in [0x00, 0x7f, 0xff] {
            let mut changed = bytes.clone();
            changed[at] = with;
            match decoded(&changed, &JPEG) {
                Ok(frame) => assert_eq!(frame.view().unwrap().size(), JPEG.size),
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > 100, "{refused}");
}
