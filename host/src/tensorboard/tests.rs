//! The file is read back by the wire format alone, not by the types that wrote it.

use super::*;

/// A field of a protobuf message.
#[derive(Clone, Debug, PartialEq)]
enum Field<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Fixed32([u8; 4]),
    Bytes(&'a [u8]),
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..70).step_by(7) {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return value;
        }
    }
    panic!("a varint of more than ten bytes");
}

fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let mut take = |n: usize| {
            let (head, tail) = bytes.split_at(n);
            bytes = tail;
            head
        };
        let field = match key & 7 {
            1 => Field::Fixed64(take(8).try_into().unwrap()),
            5 => Field::Fixed32(take(4).try_into().unwrap()),
            2 => {
                let n = varint(&mut bytes) as usize;
                let (head, tail) = bytes.split_at(n);
                bytes = tail;
                Field::Bytes(head)
            }
            0 => Field::Varint(varint(&mut bytes)),
            kind => panic!("wire type {kind}"),
        };
        out.push((key >> 3, field));
    }
    out
}

/// Field `path[0]` of the message, in it field `path[1]`, and so on; the last one is handed out.
fn find<'a>(bytes: &'a [u8], path: &[u64]) -> Option<Field<'a>> {
    let (number, rest) = path.split_first().unwrap();
    let (_, field) = fields(bytes).into_iter().find(|(n, _)| n == number)?;
    match (field, rest) {
        (field, []) => Some(field),
        (Field::Bytes(inner), rest) => find(inner, rest),
        (field, _) => panic!("{field:?} is no message"),
    }
}

fn text(bytes: &[u8], path: &[u64]) -> String {
    match find(bytes, path) {
        Some(Field::Bytes(text)) => String::from_utf8(text.to_vec()).unwrap(),
        other => panic!("{other:?} is no text"),
    }
}

/// Bit by bit, as the definition has it.
fn slow_crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
        }
    }
    !crc
}

fn records(mut file: &[u8]) -> Vec<&[u8]> {
    let mut out = Vec::new();
    while !file.is_empty() {
        let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
        let n = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        let twice = |crc: u32| u64::from(crc) << 32 | u64::from(crc);
        let mask = |crc: u32| ((twice(crc) >> 15) as u32).wrapping_add(0xa282_ead8);
        assert_eq!(word(8), mask(slow_crc32c(&file[..8])));
        assert_eq!(word(12 + n), mask(slow_crc32c(&file[12..12 + n])));
        out.push(&file[12..12 + n]);
        file = &file[16 + n..];
    }
    out
}

fn png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let picture = image::RgbImage::new(width, height);
    picture
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}

#[test]
fn the_checksum_is_the_one_of_rfc_3720() {
    // RFC 3720, B.4: 32 bytes of 0, 32 bytes of 255, and the check word of "123456789".
    assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
}

#[test]
fn a_file_of_numbers_pictures_and_texts_can_be_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = EventWriter::open(folder.path()).unwrap();
    writer.restart_at(3).unwrap();
    writer.scalar(3, "metrics/mAP_0.5:0.95", 0.625).unwrap();
    writer.image(4, "PR_curve", &png(7, 5)).unwrap();
    writer.text(0, "args", "epochs = 3").unwrap();
    writer.flush().unwrap();
    let name = writer
        .path()
        .file_name()
        .unwrap()
        .to_string_lossy()
        .into_owned();
    assert!(name.starts_with("events.out.tfevents.1"), "{name}");

    let file = std::fs::read(writer.path()).unwrap();
    let events = records(&file);
    assert_eq!(events.len(), 5);
    assert_eq!(text(events[0], &[3]), "brain.Event:2");
    let Some(Field::Fixed64(time)) = find(events[0], &[1]) else {
        panic!("no time");
    };
    assert!(f64::from_le_bytes(time) > 1.7e9);

    assert_eq!(find(events[1], &[2]), Some(Field::Varint(3)));
    assert_eq!(find(events[1], &[7, 1]), Some(Field::Varint(1)));

    assert_eq!(find(events[2], &[2]), Some(Field::Varint(3)));
    assert_eq!(text(events[2], &[5, 1, 1]), "metrics/mAP_0.5:0.95");
    let number = Field::Fixed32(0.625_f32.to_le_bytes());
    assert_eq!(find(events[2], &[5, 1, 2]), Some(number));

    assert_eq!(find(events[3], &[5, 1, 4, 1]), Some(Field::Varint(5)));
    assert_eq!(find(events[3], &[5, 1, 4, 2]), Some(Field::Varint(7)));
    let picture = png(7, 5);
    assert_eq!(find(events[3], &[5, 1, 4, 4]), Some(Field::Bytes(&picture)));

    assert_eq!(text(events[4], &[5, 1, 8, 8]), "epochs = 3");
    assert_eq!(text(events[4], &[5, 1, 9, 1, 1]), "text");
    assert_eq!(find(events[4], &[5, 1, 8, 2, 2, 1]), Some(Field::Varint(1)));
}

#[test]
fn two_files_of_the_same_second_do_not_touch_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let paths = [(); 3].map(|()| {
        EventWriter::open(folder.path())
            .unwrap()
            .path()
            .to_path_buf()
    });
    assert!(paths[0] < paths[1] && paths[1] < paths[2], "{paths:?}");
}

#[test]
fn what_is_no_picture_and_a_folder_that_is_not_there_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = EventWriter::open(folder.path()).unwrap();
    let error = writer.image(0, "x", b"no picture").unwrap_err().to_string();
    assert!(
        error.starts_with("x: expected a PNG or JPEG picture: "),
        "{error}"
    );
    let error = EventWriter::open(&folder.path().join("none")).unwrap_err();
    assert!(error.to_string().ends_with("cannot be written"));
}
