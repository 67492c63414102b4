//! Holds the guide to the tests it names: each `module::a_test` of its last page exists.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is the assertion")]

use std::fs;
use std::path::Path;

/// What stands between backquotes as `module::name`, code blocks left out.
fn named(page: &str) -> Vec<(&str, &str)> {
    let text = page.split("```").step_by(2);
    text.flat_map(|text| text.split('`').skip(1).step_by(2))
        .filter_map(|quoted| quoted.rsplit_once("::"))
        .filter(|(_, name)| name.contains('_'))
        .collect()
}

/// The names of the functions under `#[test]`, whatever other attributes stand between.
fn tests(text: &str) -> impl Iterator<Item = &str> {
    text.split("#[test]\n").skip(1).filter_map(|below| {
        let line = below.lines().find(|line| !line.starts_with("#["))?;
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

/// The two whole programs at the end of the page from Python are examples, so that they can be run
/// as they stand there.
#[test]
fn the_programs_of_the_python_page_are_the_examples() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/guide/from_python.md")).unwrap();
    for name in ["forward", "chat"] {
        let example = fs::read_to_string(root.join(format!("examples/{name}.rs"))).unwrap();
        let (_, program) = example.split_once("\n\n").expect("a blank line under the head");
        assert!(page.contains(program), "examples/{name}.rs is not what the page has");
    }
}
