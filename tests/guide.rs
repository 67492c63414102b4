//! Holds the guide to the tests it names: each `module::a_test` and `file.rs::a_test` exists. And the
//! failure-mode book to the traps: it leaves none out.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is the assertion")]

use std::fs;
use std::path::Path;

/// What stands between backquotes as `module::name`, code blocks left out.
fn named(page: &str) -> Vec<(&str, &str)> {
    let text = page.split("```").step_by(2);
    text.flat_map(|text| text.split('`').skip(1).step_by(2))
        .filter_map(|quoted| quoted.rsplit_once("::"))
        // `Bind::recv_buffer` is a method.
        .filter(|(at, name)| name.contains('_') && !at.starts_with(char::is_uppercase))
        .collect()
}

/// The names of the functions under `#[test]`, whatever other attributes stand between.
fn tests(text: &str) -> impl Iterator<Item = &str> {
    text.split("#[test]\n").skip(1).filter_map(|below| {
        let mut lines = below.lines().map(str::trim_start);
        let line = lines.find(|line| !line.starts_with("#["))?;
        line.strip_prefix("fn ")?.strip_suffix("() {")
    })
}

/// Promise 7: what the guide says is shown is shown.
#[test]
fn every_test_that_the_guide_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/guide/what_happens_when.md")).unwrap();
    let named = named(&page);
    assert!(named.len() > 30, "the guide names but {} tests", named.len());
    for (module, name) in named {
        let file = root.join(format!("tests/promises/{}.rs", module.replace("::", "/")));
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{module}: {error}"));
        let found = tests(&text).any(|test| test == name);
        assert!(found, "the guide names {module}::{name}, which is no test");
    }
}

/// The two whole programs at the end of the page from Python are examples, so that they are tested as
/// processes: all but `main`, which has the manners of an example there.
#[test]
fn the_programs_of_the_python_page_are_the_examples() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/guide/from_python.md")).unwrap();
    for name in ["forward", "chat"] {
        let example = fs::read_to_string(root.join(format!("examples/{name}.rs"))).unwrap();
        let (_, program) = example.split_once("\n\n").expect("a blank line under the head");
        let line = format!("// {}\n", "-".repeat(96));
        let (program, _) = program.split_once(&line).expect("a line above what only examples have");
        assert!(page.contains(program), "examples/{name}.rs is not what the page has");
    }
}

/// The traps of the collection.
const TRAPS: u32 = 72;

/// The numbers behind `Trap` or `traps`: `Traps 7, 42 and 64`, `traps 4 (calls), 5 (events)`.
fn traps(page: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for (at, _) in page.match_indices("rap") {
        let mut rest = page[at + "rap".len()..].trim_start_matches('s').trim_start();
        loop {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let Ok(number) = rest[..digits].parse() else { break };
            found.push(number);
            rest = rest[digits..].trim_start();
            if let Some((_, behind)) =
                rest.strip_prefix('(').and_then(|in_it| in_it.split_once(')'))
            {
                rest = behind;
            }
            rest = rest.trim_start_matches([',', ' ', '\n']);
            rest = rest.strip_prefix("and").unwrap_or(rest).trim_start();
        }
    }
    found
}

/// The name under which a link finds a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Promise 7: the book names tests that exist, leaves no trap out, and its index leads somewhere.
#[test]
fn the_book_of_failure_modes_is_whole() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/guide/failure_modes.md")).unwrap();
    let named: Vec<_> = named(&page)
        .into_iter()
        .filter(|(at, _)| Path::new(at).extension().is_some_and(|end| end == "rs"))
        .collect();
    assert!(named.len() > 80, "the book names but {} tests", named.len());
    for (file, name) in named {
        let places = [format!("tests/promises/{file}"), format!("tests/{file}"), file.to_owned()];
        let text = places.iter().find_map(|place| fs::read_to_string(root.join(place)).ok());
        let text = text.unwrap_or_else(|| panic!("the book names {file}, which is no file"));
        let found = tests(&text).any(|test| test == name);
        assert!(found, "the book names {file}::{name}, which is no test");
    }
    let told = traps(&page);
    let missing: Vec<_> = (1..=TRAPS).filter(|trap| !told.contains(trap)).collect();
    assert!(missing.is_empty(), "the book leaves out {missing:?}");
    let anchors: Vec<_> = page.lines().filter(|line| line.starts_with('#')).map(anchor).collect();
    for link in page.split("](#").skip(1).filter_map(|link| link.split_once(')')) {
        assert!(anchors.iter().any(|anchor| anchor == link.0), "nothing is called #{}", link.0);
    }
    // Each entry says which trap it is about, and how that was seen.
    for entry in page.split("\n## ").skip(1) {
        let entry = entry.split("\n# ").next().unwrap();
        let title = entry.lines().next().unwrap();
        assert!(!traps(entry).is_empty(), "{title:?} names no trap");
        assert!(entry.contains(".rs::") || entry.contains("no test"), "{title:?} names no test");
    }
}
