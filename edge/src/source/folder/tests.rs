use super::*;

fn names(listing: &Listing) -> Vec<&str> {
    let entries = listing.entries.iter();
    entries.map(|entry| entry.name.as_str()).collect()
}

#[test]
fn pictures_come_in_byte_order_whatever_the_system_gives() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("b")).unwrap();
    for name in [
        "c.PNG",
        "b/2.jpg",
        "b/10.jpg",
        "a.jpeg",
        "notes.txt",
        "B.png",
    ] {
        fs::write(folder.path().join(name), b"x").unwrap();
    }
    let listing = list(folder.path(), &[]).unwrap();
    assert_eq!(
        names(&listing),
        ["B.png", "a.jpeg", "b/10.jpg", "b/2.jpg", "c.PNG"]
    );
    assert_eq!((listing.skipped.len(), listing.others), (0, 1));
}

#[test]
fn the_output_inside_the_source_is_not_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("annotated.png"), b"x").unwrap();
    fs::write(folder.path().join("a.png"), b"x").unwrap();
    let listing = list(folder.path(), &[out]).unwrap();
    assert_eq!(names(&listing), ["a.png"]);
}

#[test]
fn a_source_that_is_missing_or_no_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.png");
    assert!(list(&file, &[]).is_err());
    fs::write(&file, b"x").unwrap();
    let message = list(&file, &[]).unwrap_err().to_string();
    assert!(message.ends_with("a.png: not a folder"), "{message}");
}

#[cfg(unix)]
#[test]
fn what_only_looks_like_a_picture_is_skipped_with_its_reason() {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("folder.jpg")).unwrap();
    fs::create_dir(at("inner")).unwrap();
    symlink("loop.png", at("loop.png")).unwrap();
    symlink(folder.path(), at("inner/up")).unwrap();
    symlink("nowhere", at("dangling.jpg")).unwrap();
    fs::write(at("good.png"), b"x").unwrap();
    symlink("good.png", at("link.png")).unwrap();
    fs::write(at("two\nlines.png"), b"x").unwrap();
    fs::write(
        folder.path().join(std::ffi::OsStr::from_bytes(b"\xff.jpg")),
        b"x",
    )
    .unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(at("pipe.jpg"))
        .status();
    let piped = made.is_ok_and(|status| status.success());

    let listing = list(folder.path(), &[]).unwrap();
    assert_eq!(names(&listing), ["good.png", "link.png", "two\nlines.png"]);
    let mut expected = vec![
        ("\\xff.jpg", "its name is not UTF-8"),
        ("dangling.jpg", "cannot be read: "),
        ("folder.jpg", "a folder, expected a picture"),
        ("inner/up", "a link to a folder, not followed"),
        ("loop.png", "cannot be read: "),
    ];
    if piped {
        expected.push(("pipe.jpg", "a pipe, socket or device, expected a picture"));
    }
    assert_eq!(listing.skipped.len(), expected.len());
    for (skipped, (name, reason)) in listing.skipped.iter().zip(expected) {
        assert_eq!(skipped.image, name);
        assert!(skipped.reason.starts_with(reason), "{skipped:?}");
    }
}
