//! Holds the list of bugs to plant (`tests/mutations/list/`) to the source, so that it cannot rot:
//! each must still apply, and exactly once.
//!
//! Nothing is planted here. That is done by `tests/mutations/run`, which builds a copy of the source
//! with each bug and shows that the simulator's seeds find it. What a line of the list means is told
//! in `tests/mutations/README.md`.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is the assertion")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The list is not to shrink below this.
const AT_LEAST: usize = 60;

/// One change of one file: whole lines without their indentation.
struct Piece<'a> {
    file: &'a str,
    old: Vec<&'a str>,
    new: Vec<&'a str>,
}

/// One bug to plant.
struct Mutation<'a> {
    name: &'a str,
    breaks: &'a str,
    killer: &'a str,
    pieces: Vec<Piece<'a>>,
}

/// The entries of the list, in order.
fn read_list(text: &str) -> Vec<Mutation<'_>> {
    let mut list = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("= ") {
            list.push(Mutation { name, breaks: "", killer: "", pieces: Vec::new() });
            inside = true;
            continue;
        }
        if line.trim().is_empty() {
            inside = false;
            continue;
        }
        assert!(inside, "outside of any entry: {line}");
        let mutation = list.last_mut().unwrap();
        if let Some(file) = line.strip_prefix("@ ") {
            mutation.pieces.push(Piece { file, old: Vec::new(), new: Vec::new() });
        } else if let Some(killer) = line.strip_prefix("killed by: ") {
            mutation.killer = killer;
        } else if let Some(piece) = mutation.pieces.last_mut() {
            let (mark, rest) = line.split_at(1);
            assert!([" ", "-", "+"].contains(&mark), "neither ' ', '+' nor '-': {line}");
            if mark != "+" {
                piece.old.push(rest.trim());
            }
            if mark != "-" {
                piece.new.push(rest.trim());
            }
        } else {
            mutation.breaks = line;
        }
    }
    list
}

/// The files of the list, each with its text: `core/send` for `list/core/send.txt`.
fn list_files(list: &Path) -> Vec<(String, String)> {
    let (mut found, mut folders): (Vec<PathBuf>, _) = (Vec::new(), vec![list.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    let name = |path: &Path| path.strip_prefix(list).unwrap().with_extension("");
    let read = |path: &PathBuf| fs::read_to_string(path).unwrap();
    found.iter().map(|path| (name(path).to_str().unwrap().to_owned(), read(path))).collect()
}

/// Plants one piece in the lines of its file, if there is exactly one place for it.
fn plant(lines: &mut Vec<String>, piece: &Piece<'_>) -> Result<(), usize> {
    let places: Vec<usize> = lines
        .windows(piece.old.len())
        .enumerate()
        .filter(|(_, window)| window.iter().map(|line| line.trim()).eq(piece.old.iter().copied()))
        .map(|(at, _)| at)
        .collect();
    let [at] = places[..] else { return Err(places.len()) };
    lines.splice(at..at + piece.old.len(), piece.new.iter().map(ToString::to_string));
    Ok(())
}

/// Whether a name is made of small words with hyphens between them.
fn is_kebab(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.split('-').all(|word| !word.is_empty() && word.chars().all(plain))
}

#[test]
fn every_bug_to_plant_applies_exactly_once() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = list_files(&root.join("tests/mutations/list"));
    let list: Vec<(String, Mutation<'_>)> = files
        .iter()
        .flat_map(|(file, text)| {
            read_list(text).into_iter().map(|mutation| (file.clone(), mutation))
        })
        .collect();
    let mut names = BTreeSet::new();
    let mut wrong = Vec::new();
    for (file, mutation) in &list {
        let name = mutation.name;
        assert!(is_kebab(name), "not a name in small letters and hyphens: {name}");
        assert!(names.insert(name), "{name} stands twice");
        assert!(!mutation.breaks.is_empty(), "{name} does not say what it breaks");
        assert!(!mutation.killer.is_empty(), "{name} does not say what kills it");
        assert!(!mutation.pieces.is_empty(), "{name} changes nothing");
        assert_eq!(mutation.pieces[0].file, format!("src/{file}.rs"), "{name} is listed elsewhere");
        // A later piece may touch a file that an earlier one has changed.
        let mut changed: Vec<(&str, Vec<String>)> = Vec::new();
        for piece in &mutation.pieces {
            assert!(piece.file.starts_with("src/"), "{name} changes no source of ours");
            assert!(!piece.old.is_empty() && piece.old != piece.new, "{name} changes nothing");
            if changed.iter().all(|(file, _)| *file != piece.file) {
                let source = fs::read_to_string(root.join(piece.file)).unwrap();
                changed.push((piece.file, source.lines().map(str::to_owned).collect()));
            }
            let lines = changed.iter_mut().find(|(file, _)| *file == piece.file);
            if let Err(places) = plant(&mut lines.unwrap().1, piece) {
                wrong.push(format!("{name}: {places} places in {}", piece.file));
            }
        }
    }
    assert!(wrong.is_empty(), "mend tests/mutations/list:\n{}", wrong.join("\n"));
    assert!(list.len() >= AT_LEAST, "only {} bugs to plant", list.len());
}

/// The check itself, against a list that does not apply.
#[test]
fn a_bug_without_a_place_or_with_two_is_found_out() {
    let list = read_list("\n= a-name\nWhat.\nkilled by: x\n@ src/a.rs\n  if a {\n- b;\n+ c;\n");
    let [Mutation { pieces, .. }] = &list[..] else { panic!("one entry") };
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let mut once = lines("fn f() {\n    if a {\n        b;\n    }\n}");
    plant(&mut once, &pieces[0]).unwrap();
    assert_eq!(once.join("|"), "fn f() {|if a {|c;|    }|}");
    assert_eq!(plant(&mut lines("if a {\nd;\n}"), &pieces[0]), Err(0));
    assert_eq!(plant(&mut lines("if a {\nb;\nif a {\n b;"), &pieces[0]), Err(2));
    assert!(is_kebab("a-b1") && !is_kebab("a--b") && !is_kebab("A"));
}
