//! Paths of Unix sockets that are bound here: one that a dead server left is taken over, no other
//! is touched, and ours is removed in the end. Read next: `net/listen.rs` and `net/bind.rs`, which
//! bind them.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::SocketAddrUnix;
use socket2::Socket;

use crate::base::address::Address;
use crate::net::options::invalid;
use crate::net::socket::name;

/// The longest path that can be bound: socket addresses of 108 bytes make other programs stumble.
const PATH_MAX: usize = 107;

/// Where a path is in the file system, absolute, so that it is found at the end wherever the process
/// has gone meanwhile; and the socket address to bind it by. That is of the absolute path too, so that
/// a peer that reads it finds the same file, unless only the path as it was given fits.
pub(crate) fn path_to_bind(given: &Path) -> io::Result<(PathBuf, SocketAddrUnix)> {
    let path = std::path::absolute(given)?;
    let fits = |path: &Path| path.as_os_str().len() <= PATH_MAX;
    let bound = if fits(&path) { &path } else { given };
    if !fits(bound) {
        let len = bound.as_os_str().len();
        let what = format!("{len} bytes of path do not fit in a socket address (107 do, unix(7))");
        return Err(invalid(&what));
    }
    let addr = name::unix(&Address::unix(bound))?;
    Ok((path, addr))
}

/// Binds a path, over the remains of a dead server if need be. `make`: a socket of the kind that is
/// to be bound, one more to ask with whether a server is there.
pub(crate) fn bind_path(
    path: &Path,
    addr: &SocketAddrUnix,
    make: impl Fn() -> io::Result<Socket>,
) -> io::Result<Socket> {
    // The remains may go, and others come, between two looks: then look again, but not for ever.
    for _ in 0..3 {
        let socket = make()?;
        match rustix::net::bind(&socket, addr) {
            Err(Errno::ADDRINUSE) => {}
            bound => return Ok(bound.map(|()| socket)?),
        }
        let found = match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            found => found?,
        };
        if !found.file_type().is_socket() {
            return Err(in_use("there is a file, and it is no socket"));
        }
        // A live server with a full backlog would make a blocking connect wait.
        let probe = make()?;
        probe.set_nonblocking(true)?;
        match rustix::net::connect(&probe, addr) {
            Err(Errno::CONNREFUSED) => {}
            Err(Errno::NOENT) => continue,
            Ok(()) => return Err(in_use("a server is listening there")),
            Err(Errno::AGAIN) => return Err(in_use("a server is listening there, and busy")),
            Err(error) => {
                let error = io::Error::from(error);
                return Err(in_use(&format!("there is a socket: {error}")));
            }
        }
        // No server answers. Remove what was probed, not what may have come since.
        let again = std::fs::symlink_metadata(path)?;
        if same_file(&found, &again) {
            std::fs::remove_file(path)?;
            log::info!("removed {}, which a dead server left behind", Address::unix(path));
        }
    }
    Err(in_use("others keep binding it"))
}

fn same_file(one: &std::fs::Metadata, other: &std::fs::Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// The path of a socket that was bound here; removed with this, if it is still the same file.
#[derive(Debug)]
pub(crate) struct OwnedPath {
    pub(crate) path: PathBuf,
    dev: u64,
    ino: u64,
}

impl OwnedPath {
    pub(crate) fn new(path: PathBuf) -> io::Result<Self> {
        let metadata = std::fs::symlink_metadata(&path)?;
        Ok(OwnedPath { path, dev: metadata.dev(), ino: metadata.ino() })
    }

    pub(crate) fn is(&self, found: &std::fs::Metadata) -> bool {
        (found.dev(), found.ino()) == (self.dev, self.ino)
    }
}

impl Drop for OwnedPath {
    fn drop(&mut self) {
        let found = std::fs::symlink_metadata(&self.path);
        let ours = found.is_ok_and(|found| self.is(&found));
        if ours && let Err(error) = std::fs::remove_file(&self.path) {
            log::warn!("cannot remove {}: {error}", Address::unix(&self.path));
        }
    }
}

fn in_use(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::AddrInUse, what)
}
