//! Holds the house of ARCHITECTURE.md: who may import whom, where mio, the clock and a platform may
//! be named, and that every promise and every trap has its test or its sentence.
//!
//! It reads the sources as text, without comments and without the tests at the foot of a file, and
//! counts on two habits: a path into another room begins `crate::` and the room's name, and no string
//! holds two slashes before what is looked for.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is the assertion")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The floors, from the street up. What belongs to one imports only from floors below its own.
const FLOORS: [&[&str]; 12] = [
    &["base"],
    &["kernel", "time"],
    &["net"],
    &["conn"],
    &["core", "frame"],
    &["context"],
    &["handler"],
    &["framed", "handle", "services"],
    &["reactor"],
    &["server"],
    &["sim"],
    &["guide", "lib"],
];

/// The promises of the design.
const PROMISES: u32 = 8;

/// The traps of the collection.
const TRAPS: u32 = 72;

/// Traps that no test of these can show.
const WAITING: [(u32, &str); 3] = [
    (
        4,
        "nothing stands on a clone: TLS is a layer, and what goes around mio is inside try_io (ARCHITECTURE)",
    ),
    (3, "held by running these very tests with --cfg mio_unsupported_force_poll_poll, see .ci/run"),
    (19, "a fork needs unsafe: documented, not tested"),
];

/// A trait of callbacks, and what wraps one of its kind: where each begins, and in which file.
struct Wrapped {
    of: (&'static str, &'static str),
    by: &'static [(&'static str, &'static str)],
}

const WRAPPED: [Wrapped; 2] = [
    Wrapped {
        of: ("src/handler.rs", "pub trait Handler: Sized {"),
        by: &[
            ("src/framed.rs", " Handler for Framed<D, H> {"),
            ("src/services.rs", " Handler for ($($handler,)+) {"),
            ("src/services.rs", " Handler for Vec<H> {"),
        ],
    },
    Wrapped {
        of: ("src/base/layer.rs", "pub trait Layer: Any + fmt::Debug + Send {"),
        by: &[
            ("src/base/layer.rs", "impl Layer for Box<dyn Layer> {"),
            ("src/base/layer/then.rs", " Layer for Then<B, A> {"),
        ],
    },
];

/// A file is read in one sitting. The tests at its foot count for half.
const LINES_MAX: usize = 700;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below a folder, with its text.
fn files(folder: &str) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.insert(path.strip_prefix(root()).unwrap().to_owned(), text);
            }
        }
    }
    assert!(!found.is_empty(), "nothing in {folder}");
    found
}

/// The room a source file belongs to: `src/net/socket.rs` is in `net`, `src/net.rs` is its door.
fn room(path: &Path) -> String {
    let name = path.components().nth(1).unwrap().as_os_str().to_str().unwrap();
    name.strip_suffix(".rs").unwrap_or(name).to_owned()
}

/// The code of a file: no comments, nothing of the tests at its foot. Lines keep their numbers.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap();
    text.lines().map(|line| line.split("//").next().unwrap().to_owned() + "\n").collect()
}

/// Where a word stands in code as a whole word.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        !code[..*at].ends_with(inside) && !code[*at + word.len()..].starts_with(inside)
    })
}

/// The rooms that a file names behind `crate::`.
fn imports(code: &str) -> BTreeSet<&str> {
    let inside = |c: char| c.is_ascii_lowercase() || c == '_';
    let paths = code.split("crate::").skip(1);
    paths.map(|path| &path[..path.find(|c| !inside(c)).unwrap_or(path.len())]).collect()
}

fn floor_of(room: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&room))
}

/// Promise 7: a file imports only from floors below its own; no circles.
#[test]
fn a_file_imports_only_from_floors_below() {
    let mut wrong = Vec::new();
    for (path, text) in files("src") {
        // The tests of a file look wherever they like.
        if path.ends_with("tests.rs") {
            continue;
        }
        let own = room(&path);
        let Some(floor) = floor_of(&own) else {
            wrong.push(format!("{} stands on no floor", path.display()));
            continue;
        };
        if own == "lib" {
            continue; // the street door sees all
        }
        for import in imports(&code(&text)) {
            match floor_of(import) {
                _ if import == own => (),
                Some(below) if below < floor => (),
                Some(other) => wrong.push(format!(
                    "{} (floor {floor}) names crate::{import} (floor {other})",
                    path.display()
                )),
                None => wrong.push(format!(
                    "{} names crate::{import}, which is no room; go to where it is defined",
                    path.display()
                )),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The floors in ARCHITECTURE.md name the same files.
#[test]
fn every_file_stands_in_the_architecture() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for path in files("src").into_keys() {
        let name = path.file_name().unwrap().to_str().unwrap();
        let door = path.components().count() == 2;
        assert!(!door || text.contains(name), "ARCHITECTURE.md does not know {name}");
    }
}

/// The head of a file sends its reader on to files that are there.
#[test]
fn every_file_named_in_the_head_of_another_is_there() {
    for (path, text) in files("src").into_iter().chain(files("crates")) {
        let head = text.lines().take_while(|line| line.starts_with("//!"));
        for name in head.flat_map(|line| line.split('`').skip(1).step_by(2)) {
            if Path::new(name).extension().is_none_or(|end| end != "rs") {
                continue;
            }
            let below = path.with_extension("");
            let is_there = below.ancestors().any(|folder| {
                let folder = root().join(folder);
                folder.join(name).exists() || folder.join("src").join(name).exists()
            });
            assert!(is_there, "{} names {name}", path.display());
        }
    }
}

/// Whether a file is one of the `parts` of the source, or in its folder.
fn is_of(path: &Path, parts: &[&str]) -> bool {
    let path = path.with_extension("");
    parts.iter().any(|part| path.starts_with(Path::new("src").join(part)))
}

/// Fails if a word stands in the code of a file that is not among the `allowed`.
fn only_in(allowed: &[&str], word: &str) {
    for (path, text) in files("src") {
        if is_of(&path, allowed) {
            continue;
        }
        let code = code(&text);
        if let Some(at) = words(&code, word).next() {
            let line = code[..at].lines().count();
            panic!("{}:{line} names {word}; only {allowed:?} may", path.display());
        }
    }
}

/// mio is the business of two files.
#[test]
fn only_socket_and_driver_name_mio() {
    only_in(&["net/socket", "net/driver"], "mio");
}

/// Everybody else is told what time it is.
#[test]
fn only_the_driver_reads_the_clock() {
    only_in(&["net/driver"], "clock_gettime");
    only_in(&[], "Instant::now");
    only_in(&[], "SystemTime");
}

/// Only the upper floors know what a handler is.
#[test]
fn only_the_upper_floors_name_the_handler() {
    only_in(&["handler", "handle", "framed", "services", "reactor", "server", "sim", "lib"], "H");
    only_in(
        &["handler", "handle", "framed", "services", "reactor", "server", "sim", "lib"],
        "Session",
    );
}

/// A platform's `cfg` stands in two files, and in the refusal at the street door.
#[test]
fn a_platform_is_named_in_two_files_only() {
    const PLATFORM: [&str; 6] = ["target_", "unix", "windows", "mio_unsupported", "unix_", "linux"];
    for (path, text) in files("src") {
        if is_of(&path, &["net/socket", "net/driver", "lib"]) {
            continue;
        }
        let code = code(&text);
        for form in ["cfg(", "cfg_attr(", "cfg!("] {
            for (at, _) in code.match_indices(form) {
                let condition: String =
                    code[at + form.len()..].chars().take_while(|c| !"]\n".contains(*c)).collect();
                let line = code[..at].lines().count();
                assert!(
                    !PLATFORM.iter().any(|word| condition.contains(word)),
                    "{}:{line} asks for a platform: {condition}",
                    path.display()
                );
            }
        }
    }
}

/// Promise 8: no `unsafe`, and the compiler is told so.
#[test]
fn nothing_is_unsafe() {
    for (path, text) in ["src", "tests", "crates"].into_iter().flat_map(files) {
        // This very file names it.
        if path.ends_with("floors.rs") {
            continue;
        }
        assert_eq!(words(&code(&text), "unsafe").next(), None, "in {}", path.display());
    }
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    assert!(
        manifest.contains("unsafe_code = \"forbid\"") && lib.contains("#![forbid(unsafe_code)]"),
        "unsafe code is to be forbidden in both places"
    );
}

/// Promise 7: a callback that a wrapper does not pass on would have its default, and nobody would notice.
#[test]
fn what_wraps_a_handler_or_a_layer_passes_every_callback_on() {
    let callbacks = |(file, begin): (&str, &str)| -> BTreeSet<String> {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let (_, block) = text.split_once(begin).unwrap_or_else(|| panic!("{file}: no {begin:?}"));
        let (block, _) = block.split_once("\n}\n").unwrap();
        // In a macro they stand further in.
        let names = block.lines().filter_map(|line| line.trim_start().strip_prefix("fn "));
        names.map(|rest| rest.split(['(', '<']).next().unwrap().to_owned()).collect()
    };
    for Wrapped { of, by } in WRAPPED {
        let mut all = callbacks(of);
        assert!(all.len() >= 11 && (all.contains("on_shutdown") || all.contains("end")), "{all:?}");
        // By it a layer is put into a pair, wrapped or not.
        all.remove("then");
        for wrapper in by {
            assert_eq!(callbacks(*wrapper), all, "{wrapper:?}");
        }
    }
}

/// A file is read in one sitting.
#[test]
fn no_file_is_too_long_to_read() {
    for (path, text) in files("src").into_iter().chain(files("crates")) {
        let lines = text.lines().count();
        let foot = text.split("#[cfg(test)]\nmod ").nth(1).map_or(0, |foot| foot.lines().count());
        let counted = lines - foot / 2;
        assert!(counted <= LINES_MAX, "{} has {lines} lines, {foot} of tests", path.display());
    }
}

/// The numbers named behind a word in the doc comments: `Promise 1`, `Traps 7, 42 and 64`.
fn numbers(text: &str, word: &str, into: &mut BTreeSet<u32>) {
    for (at, _) in text.match_indices(word) {
        let mut rest =
            text[at + word.len()..].strip_prefix('s').unwrap_or(&text[at + word.len()..]);
        loop {
            rest = rest.trim_start_matches([' ', ',', '\n', '/', '!']);
            rest = rest.strip_prefix("and ").unwrap_or(rest);
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let Ok(number) = rest[..digits].parse() else { break };
            into.insert(number);
            rest = &rest[digits..];
        }
    }
}

/// All doc comments that stand over a test.
fn docs_of_tests() -> String {
    let mut docs = String::new();
    for (_, text) in ["src", "tests", "crates"].into_iter().flat_map(files) {
        let mut doc = String::new();
        for line in text.lines().map(str::trim) {
            if line.starts_with("///") {
                doc.push_str(line);
                doc.push('\n');
            } else if line == "#[test]" {
                docs.push_str(&doc);
                doc.clear();
            } else if !line.starts_with("#[") {
                doc.clear();
            }
        }
    }
    docs
}

/// Promise 7: what is promised is tested.
#[test]
fn every_promise_is_named_by_a_test() {
    let mut named = BTreeSet::new();
    numbers(&docs_of_tests(), "Promise", &mut named);
    let missing: Vec<_> = (1..=PROMISES).filter(|number| !named.contains(number)).collect();
    assert!(missing.is_empty(), "promises without a test: {missing:?}");
}

/// Promise 7: a trap is closed by a test, or by a sentence in ARCHITECTURE.md, or it waits for what
/// is not built.
#[test]
fn every_trap_is_closed_or_waits() {
    let mut named = BTreeSet::new();
    numbers(&docs_of_tests(), "Trap", &mut named);
    numbers(&fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap(), "Trap", &mut named);
    let waits = |trap: &u32| WAITING.iter().any(|(number, _)| number == trap);
    let missing: Vec<_> =
        (1..=TRAPS).filter(|trap| !named.contains(trap) && !waits(trap)).collect();
    assert!(missing.is_empty(), "traps with neither test nor sentence: {missing:?}");
}

/// A promise and a trap are numbers that the reader can look up.
#[test]
fn the_rules_above_can_be_broken() {
    // The checks themselves, against a text that breaks them.
    let text =
        "use crate::core::Core;\n// crate::lib\nlet x: crate::conn::State = go(); // crate::no";
    assert_eq!(imports(&code(text)).into_iter().collect::<Vec<_>>(), ["conn", "core"]);
    assert!(is_of(Path::new("src/net/socket/left.rs"), &["net/socket"]));
    assert!(!is_of(Path::new("src/net/listen.rs"), &["net/socket", "net/lis"]));
    assert_eq!(words("unsafe_code unsafe", "unsafe").count(), 1);
    let mut named = BTreeSet::new();
    numbers("/// Traps 7, 42 and 64: words 9", "Trap", &mut named);
    assert_eq!(named.into_iter().collect::<Vec<_>>(), [7, 42, 64]);
}
