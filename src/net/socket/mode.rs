//! The mode of a Unix path that is bound here.
//!
//! A path is made with its mode, so that there is no moment in which it has another (trap 53), and no
//! look at it that could be led elsewhere. Only where the process's umask takes away what was asked
//! for is the mode changed afterwards: of the file that was made, and never through a link. Read next:
//! `net/listen.rs`, which binds paths.

use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use socket2::Socket;

/// Refuses what no mode of a path is.
pub(crate) fn check(mode: Option<u32>) -> io::Result<()> {
    match mode {
        Some(mode) if mode > 0o7777 => {
            let what = format!("0o{mode:o} is not a mode");
            Err(io::Error::new(io::ErrorKind::InvalidInput, what))
        }
        _ => Ok(()),
    }
}

/// Before the path is bound: Linux makes it with the mode of the socket, less the umask. Elsewhere
/// this may fail, and says nothing.
pub(crate) fn prepare(socket: &Socket, mode: Option<u32>) -> io::Result<()> {
    if let Some(mode) = mode {
        let file = File::from(OwnedFd::from(socket.try_clone()?));
        let _ = file.set_permissions(Permissions::from_mode(mode));
    }
    Ok(())
}

/// After the path was bound: gives back what the umask took away. `is_ours`: whether it is the file
/// that was made.
pub(crate) fn complete(
    path: &Path,
    is_ours: impl Fn(&Metadata) -> bool,
    mode: Option<u32>,
) -> io::Result<()> {
    let Some(mode) = mode else { return Ok(()) };
    let found = std::fs::symlink_metadata(path)?;
    // A link, or a socket with a second name, was not made here.
    if !found.file_type().is_socket() || found.nlink() != 1 || !is_ours(&found) {
        return Err(taken_away());
    }
    if found.mode() & 0o7777 == mode {
        return Ok(());
    }
    change(path, is_ours, mode)
}

/// By a descriptor of the very file: what stands at the path may change meanwhile.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn change(path: &Path, is_ours: impl Fn(&Metadata) -> bool, mode: u32) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    use rustix::fs::{Mode, OFlags, open};

    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(open(path, flags, Mode::empty())?);
    if !is_ours(&file.metadata()?) {
        return Err(taken_away());
    }
    // fchmod(2) takes no descriptor of a path alone; its name in proc(5) stands for the file itself.
    let name = format!("/proc/self/fd/{}", file.as_raw_fd());
    std::fs::set_permissions(name, Permissions::from_mode(mode))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn change(path: &Path, _: impl Fn(&Metadata) -> bool, mode: u32) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, Mode, chmodat};

    let mode = Mode::from_bits_truncate(mode.try_into().unwrap_or_default());
    Ok(chmodat(CWD, path, mode, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn taken_away() -> io::Error {
    io::Error::new(io::ErrorKind::AddrInUse, "the path was taken away at once")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Trap 53: what stands at the path instead of the socket that was made, a link above all, keeps
    /// its mode.
    #[test]
    fn a_link_that_has_taken_the_paths_place_is_not_followed() {
        let name = format!("wouldblock-mode-link-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        let (path, precious) = (folder.join("socket"), folder.join("precious"));
        let bind = |path: &Path| std::os::unix::net::UnixListener::bind(path).unwrap();
        let (_made, _precious) = (bind(&path), bind(&precious));
        std::fs::set_permissions(&precious, Permissions::from_mode(0o600)).unwrap();
        let made = std::fs::symlink_metadata(&path).unwrap().ino();
        std::fs::rename(&path, folder.join("away")).unwrap();
        std::os::unix::fs::symlink(&precious, &path).unwrap();
        let error = complete(&path, |found| found.ino() == made, Some(0o666)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        // Nor where the look before was in time, and the change is not.
        assert!(change(&path, |found| found.ino() == made, 0o666).is_err());
        let permissions = std::fs::metadata(&precious).unwrap().permissions();
        assert_eq!(permissions.mode() & 0o777, 0o600);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
