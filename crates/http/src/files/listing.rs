//! The list of what can be asked for in a directory.
//!
//! Names are bytes that anybody may have chosen: in references they are percent-encoded, in text escaped.

use std::fmt::Write as _;
use std::fs::File;
use std::io;

use http::HeaderValue;
use http::header::{CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS};
use rustix::fs::{AtFlags, Dir, FileType, statat};

use crate::escape::Html;
use crate::response::Response;

/// The most names that a list has.
const NAMES_MAX: usize = 10_000;

pub(super) fn page(directory: File, path: &str, hidden: bool) -> io::Result<Response> {
    let mut names = Vec::new();
    let mut is_cut = false;
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if [c".", c".."].contains(&name) || !hidden && name.to_bytes().starts_with(b".") {
            continue;
        }
        if names.len() == NAMES_MAX {
            is_cut = true;
            break;
        }
        let file_type = match entry.file_type() {
            // A link is what it leads to; whether that is served is asked when it is asked for.
            FileType::Unknown | FileType::Symlink => {
                let Ok(stat) = statat(&directory, name, AtFlags::empty()) else { continue };
                FileType::from_raw_mode(stat.st_mode)
            }
            known => known,
        };
        let end = match file_type {
            FileType::Directory => "/",
            FileType::RegularFile => "",
            _ => continue,
        };
        names.push((name.to_bytes().to_vec(), end));
    }
    names.sort();
    let title = format!("Index of {}", Html(path));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<h1>{title}</h1>\n<ul>\n"
    );
    for (name, end) in names {
        let text = Html(String::from_utf8_lossy(&name));
        // `./`: a name with a colon is no scheme. Writing to a string does not fail.
        let _ = writeln!(page, "<li><a href=\"./{}{end}\">{text}{end}</a></li>", encode(&name));
    }
    page.push_str("</ul>\n");
    if is_cut {
        let _ = writeln!(page, "<p>There are more than {NAMES_MAX} names.</p>");
    }
    let policy = HeaderValue::from_static("default-src 'none'");
    Ok(Response::html(page)
        .header(CONTENT_SECURITY_POLICY, policy)
        .header(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")))
}

/// A name in a reference: what is not certain to stand for itself is encoded.
fn encode(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name that somebody chose is neither markup nor a reference to elsewhere.
    #[test]
    fn a_name_is_neither_markup_nor_another_reference() {
        assert_eq!(encode(b"a b\"<>/?#%&'\xff"), "a%20b%22%3C%3E%2F%3F%23%25%26%27%FF");
        assert_eq!(Html("<a href=\"x\">'&").to_string(), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;");
    }
}
