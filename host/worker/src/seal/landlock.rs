//! Landlock: no file but in the directories that were granted, no TCP, no signal to another process.

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, make_bitflags,
};
use stockade_wire::message::Seal;
use stockade_wire::sys::landlock::{ABI_TRUNCATE, abi};

use super::{Breach, OrBreach};
use crate::process;
use crate::wasi::Directory;

/// What a kernel without Landlock means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Landlock {
    /// The filter stands alone.
    IfThere,
    /// The process does not start.
    Required,
}

impl Landlock {
    pub(crate) fn of(seal: Seal) -> Self {
        match seal {
            Seal::Strict => Self::Required,
            Seal::Required | Seal::None => Self::IfThere,
        }
    }
}

/// In a directory that may be read.
const READ: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});

/// In one that may be written, besides. No device, pipe or socket may be made, nothing executed.
const WRITE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    WriteFile | Truncate | MakeReg | MakeDir | MakeSym | RemoveFile | RemoveDir | Refer
});

/// Gives up every right that the kernel knows, but for those to the directories.
///
/// With directories the filter admits the calls of files, and this is what keeps them there: a kernel that cannot
/// is an error, whatever was asked for.
pub(super) fn restrict(landlock: Landlock, granted: &[Directory]) -> Result<(), Breach> {
    const WALL: &str = "landlock";
    let read_only = granted.iter().any(|directory| !directory.is_written());
    if read_only && abi().is_some_and(|abi| abi < ABI_TRUNCATE) {
        return Err(Breach::new(
            WALL,
            "this kernel's cannot keep a file in a read-only directory from being cut: Linux 6.2 can",
        ));
    }
    if enforce(granted).or_breach(WALL)? {
        return Ok(());
    }
    if !granted.is_empty() {
        return Err(Breach::new(
            WALL,
            "this kernel has none, and nothing else would keep an escaped guest to the granted directories",
        ));
    }
    if landlock == Landlock::Required {
        return Err(Breach::new(WALL, "this kernel has none"));
    }
    process::complain("this kernel has no Landlock; the system call filter stands alone");
    Ok(())
}

/// Gives up every right but that to read /proc.
pub(super) fn restrict_to_proc(landlock: Landlock) -> Result<(), Breach> {
    const WALL: &str = "landlock";
    let proc = PathFd::new("/proc").or_breach(WALL)?;
    let restricted = nothing()
        .and_then(|rules| rules.add_rule(PathBeneath::new(proc, READ)))
        .and_then(RulesetCreated::restrict_self)
        .or_breach(WALL)?;
    match (restricted.ruleset, landlock) {
        (RulesetStatus::NotEnforced, Landlock::Required) => {
            Err(Breach::new(WALL, "this kernel has none"))
        }
        // Each worker says so.
        _ => Ok(()),
    }
}

/// No right to anything.
fn nothing() -> Result<RulesetCreated, RulesetError> {
    let newest = ABI::V10;
    Ruleset::default()
        .handle_access(AccessFs::from_all(newest))?
        .handle_access(AccessNet::from_all(newest))?
        .scope(Scope::from_all(newest))?
        .create()
}

/// Whether the kernel has it.
pub(super) fn enforce(granted: &[Directory]) -> Result<bool, RulesetError> {
    let mut rules = nothing()?;
    for directory in granted {
        let access = match directory.is_written() {
            true => READ | WRITE,
            false => READ,
        };
        rules = rules.add_rule(PathBeneath::new(directory, access))?;
    }
    let status = rules.restrict_self()?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

#[cfg(test)]
#[path = "landlock_probe.rs"]
mod probe;
