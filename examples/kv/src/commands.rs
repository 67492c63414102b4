//! What each command does, by the kind of value.

use crate::command::Command;

/// All commands, by the file that has them.
pub const ALL: &[&[Command]] = &[];
