//! The station's systemd unit, judged by systemd.

use std::fs;
use std::process::Command;

use tests::root;

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let unit = root().join("edge/systemd/leuko-edge.service");
    let text = fs::read_to_string(unit).expect("the unit is readable");
    let program = "/usr/local/bin/leuko-edge ";
    assert!(text.contains(&format!("ExecStart={program}run --config ")));
    // The program is looked for, and is not installed where tests run.
    let text = text.replace(program, "/bin/true ");
    let folder = tempfile::tempdir().expect("a scratch folder");
    let path = folder.path().join("leuko-edge.service");
    fs::write(&path, text).expect("the copy is written");
    let verify = Command::new("systemd-analyze")
        .arg("verify")
        .arg(&path)
        .output();
    let Ok(output) = verify else {
        eprintln!("skipped: no systemd-analyze");
        return;
    };
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && words.is_empty(), "{words}");
}
