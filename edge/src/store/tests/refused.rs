//! A disk that refuses to flush, at every flush there is: what was refused does not come back.

use std::process::Command;

use super::*;

const CHILD: &str = "LEUKO_STORE_TEST_REFUSED";

/// Not a test: a station whose disk refuses. It tells what became of each record, and dies of the first
/// that was refused, as of a power cut: nothing is closed.
#[test]
#[ignore = "a process of the test below"]
fn refused_station() {
    let Some(root) = std::env::var_os(CHILD) else {
        return;
    };
    let (mut store, _) = reopen(Path::new(&root));
    type Step<'a> = (&'a str, &'a [(&'a str, &'a [u8])]);
    let picture: (&str, &[u8]) = ("fields/0001.jpg", b"a field");
    let steps: [Step<'_>; 4] = [
        ("case_opened", &[]),
        ("field_counted", &[picture]),
        ("note_added", &[]),
        ("signed", &[]),
    ];
    for (kind, pictures) in steps {
        if let Err(refused) = store.record(&id("R"), entry(kind, "{}"), pictures) {
            let flaw = store
                .chains
                .get(&Some(id("R")))
                .and_then(|c| c.flaw.as_ref());
            let stuck = if flaw.is_some() { "stuck" } else { "gone" };
            println!("refused {kind} {stuck} {refused}");
            std::process::abort();
        }
        println!("acknowledged {kind}");
    }
    std::process::abort();
}

/// Runs the station above on `root` with its `when`-th flush refused, as strace counts: what it told, and
/// whether a flush was refused at all. `None` where there is no strace or it may not be used.
fn run(root: &Path, when: &str) -> Option<(Vec<String>, bool)> {
    let inject = format!("inject=fsync,fdatasync:error=EIO:when={when}");
    let trace = root.with_extension("trace");
    let output = Command::new("strace")
        .args(["-f", "-qq", "-e", "trace=fsync,fdatasync", "-e", &inject])
        .arg("-o")
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "store::tests::refused::refused_station"])
        .args(["--ignored", "--nocapture", "--test-threads=1"])
        .env(CHILD, root)
        .output()
        .ok()?;
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = |line: &str| {
        let at = line
            .find("acknowledged ")
            .or_else(|| line.find("refused "))?;
        Some(line[at..].to_owned())
    };
    let told: Vec<String> = words.lines().filter_map(told).collect();
    let has_refused = fs::read_to_string(trace).ok()?.contains("(INJECTED)");
    (words.contains("running 1 test")).then_some((told, has_refused))
}

fn kinds(root: &Path) -> Vec<String> {
    let (store, _) = reopen(root);
    let flaws: Vec<_> = store.cases().into_iter().filter_map(|c| c.flaw).collect();
    assert_eq!(flaws, []);
    let history = store.history(&id("R"));
    let records = history.map_or_else(|_| Vec::new(), |h| h.records);
    records.into_iter().map(|r| r.kind).collect()
}

#[test]
fn a_record_that_was_refused_does_not_come_back_whichever_flush_failed() {
    for forever in [false, true] {
        let (mut gone, mut stuck) = (0, 0);
        for n in 1..200 {
            let folder = scratch();
            let root = folder.path().join("data");
            drop(open(&root));
            let when = if forever {
                format!("{n}+")
            } else {
                n.to_string()
            };
            let Some((told, has_refused)) = run(&root, &when) else {
                eprintln!("not tested: no strace here, or it may not look at processes");
                return;
            };
            if !has_refused {
                assert_eq!(told.len(), 4, "{told:?}");
                break;
            }
            let acknowledged: Vec<&str> = told
                .iter()
                .filter_map(|line| line.strip_prefix("acknowledged "))
                .collect();
            let found = kinds(&root);
            let refused = told.iter().find(|line| line.starts_with("refused "));
            match refused {
                Some(line) if line.contains(" stuck ") => {
                    stuck += 1;
                    // Nobody could know: whole or not there, and nothing else.
                    let (n, more) = (acknowledged.len(), found.len() - acknowledged.len());
                    assert_eq!(found[..n], acknowledged, "{when}: {told:?}");
                    assert!(more <= 1, "{when}: {found:?}");
                }
                Some(_) => {
                    gone += 1;
                    assert_eq!(found, acknowledged, "{when}: {told:?}");
                }
                None => assert_eq!(found, acknowledged, "{when}: {told:?}"),
            }
            assert_sound(&root);
        }
        let disk = if forever { "goes" } else { "hiccups" };
        println!(
            "disk {disk}: {gone} records refused and gone, {stuck} of which nobody could know"
        );
        // A disk that only hiccups lets everything be taken back.
        assert!(if forever {
            stuck > 0
        } else {
            gone > 4 && stuck == 0
        });
    }
}

#[test]
fn a_record_of_the_database_is_not_copied_to_the_chain_without_its_pictures() {
    let folder = scratch();
    let (root, kept) = (folder.path().join("root"), folder.path().join("kept"));
    let mut store = open(&root);
    count_case(&mut store, "A");
    drop(store);
    copy_root(&root, &kept);
    let mut store = open(&root);
    let pictures: &[(&str, &[u8])] = &[("fields/0003.jpg", b"third"), ("crops/3.jpg", b"cell")];
    store
        .record(&id("A"), entry("field_counted", "{}"), pictures)
        .unwrap();
    drop(store);
    // As the folder was before, in front of the database of afterwards.
    let names = ["cases/A/audit.jsonl", "cases/A/manifest.sha256"];
    for spoilt in [None, Some(&b"cel"[..])] {
        for name in names {
            fs::copy(kept.join(name), root.join(name)).unwrap();
        }
        let crop = root.join("cases/A/crops/3.jpg");
        match spoilt {
            None => fs::remove_file(&crop).unwrap(),
            Some(bytes) => fs::write(&crop, bytes).unwrap(),
        }
        let (mut store, repaired) = reopen(&root);
        assert_eq!(repaired, []);
        let flaw = store.cases()[0].flaw.clone().unwrap();
        assert_eq!((&flaw.file, flaw.record), (&crop, Some(5)));
        assert!(flaw.expected.contains("not in the chain"), "{flaw}");
        assert_eq!(store.history(&id("A")).unwrap().records.len(), 4);
        let refused = store.record(&id("A"), entry("note_added", "{}"), &[]);
        assert!(matches!(refused, Err(StoreError::Damaged(_))));
    }
    // With its pictures the record is whole.
    fs::write(root.join("cases/A/crops/3.jpg"), "cell").unwrap();
    let (store, repaired) = reopen(&root);
    assert!(matches!(repaired[0], Repaired::Restored { records: 1, .. }));
    assert_eq!(store.history(&id("A")).unwrap().records.len(), 5);
    drop(store);
    assert_sound(&root);
}
