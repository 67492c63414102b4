//! Opens what lies below the root, and nothing else.
//!
//! Never waits: a FIFO without a writer is opened at once (`O_NONBLOCK`), and left alone when it is
//! seen to be none that is served.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use super::Links;

const READ: OFlags =
    OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

pub(super) fn root(path: &Path) -> io::Result<OwnedFd> {
    Ok(openat(CWD, path, READ.union(OFlags::DIRECTORY), Mode::empty())?)
}

/// Opens the relative path, in which no segment is `..`.
pub(super) fn beneath(root: &OwnedFd, path: &Path, links: Links) -> Result<OwnedFd, Errno> {
    match links {
        Links::Refuse => walk(root.as_fd(), path),
        Links::Inside => inside(root.as_fd(), path),
        Links::Follow => openat(root, path, READ, Mode::empty()),
    }
}

/// Each segment by itself, none of which may be a link.
fn walk(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let mut at: Option<OwnedFd> = None;
    let mut segments = path.iter().peekable();
    while let Some(segment) = segments.next() {
        let directory = if segments.peek().is_some() { OFlags::DIRECTORY } else { OFlags::empty() };
        let from = at.as_ref().map_or(root, AsFd::as_fd);
        let flags = READ.union(OFlags::NOFOLLOW).union(directory);
        let opened = openat(from, segment, flags, Mode::empty())?;
        at = Some(opened);
    }
    at.ok_or(Errno::NOENT)
}

#[cfg(target_os = "linux")]
fn inside(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    use rustix::fs::{ResolveFlags, openat2};

    let resolve = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);
    match openat2(root, path, READ, Mode::empty(), resolve) {
        // A kernel without it, or a sandbox that does not know it.
        Err(Errno::NOSYS | Errno::PERM) => walk(root, path),
        opened => opened,
    }
}

#[cfg(not(target_os = "linux"))]
fn inside(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    walk(root, path)
}
