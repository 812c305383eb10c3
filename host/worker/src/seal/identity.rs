//! Who the process is: a user of its own that owns nothing, or the one to whom the directories belong that it may
//! write; without capabilities.

use rustix::io::{Errno, Result};
use rustix::process::{Gid, Uid, geteuid, getpid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, set_capabilities,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

/// Systemd's table of user numbers leaves those from here on unused, so one per process is nobody else's.
const UNUSED_UIDS: u32 = 0x7000_0000;

/// A user namespace may know no such numbers; this one is in every map that has more than one.
const NOBODY: u32 = 65_534;

/// What it takes to become another user and to be signalled by the host afterwards.
const NEEDED: CapabilitySet = CapabilitySet::SETUID
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::KILL);

/// Becomes a user of its own, or the user and group of `owner`, if the process is root.
///
/// Root without the capabilities of root, as in a strict container, is an ordinary user already, and its
/// host could not signal another one: it stays. So does the root of a user namespace that knows no other
/// user, who is an ordinary one outside.
pub(super) fn leave_root(owner: Option<(u32, u32)>) -> Result<()> {
    if !geteuid().is_root() || !capabilities(None)?.effective.contains(NEEDED) {
        return Ok(());
    }
    // A single-threaded process, so the thread's identity is the process's.
    match set_thread_groups(&[]) {
        // With CAP_SETGID only a user namespace refuses, and only one without other groups.
        Err(Errno::PERM) => return Ok(()),
        done => done?,
    }
    let own = own_uid();
    let become_one = match owner {
        Some((uid, gid)) => become_user(uid, gid),
        None => become_user(own, own).or_else(|_| become_user(NOBODY, NOBODY)),
    };
    match become_one {
        Err(Errno::INVAL) => Ok(()),
        done => done,
    }
}

/// The number of a user that is this process alone, and what it forks.
fn own_uid() -> u32 {
    UNUSED_UIDS + getpid().as_raw_nonzero().get() as u32
}

/// Whether no other process has this one's user, but those that it forks.
///
/// Where processes have ids of their own, as in containers, two can come to the same number.
pub(super) fn is_alone() -> bool {
    geteuid().as_raw() == own_uid()
}

/// Becomes the user that another process is, as far as it may.
pub(crate) fn follow(uid: u32, gid: u32) -> Result<()> {
    if geteuid().as_raw() == uid {
        return Ok(());
    }
    set_thread_groups(&[])?;
    become_user(uid, gid)
}

fn become_user(uid: u32, gid: u32) -> Result<()> {
    let (gid, uid) = (Gid::from_raw(gid), Uid::from_raw(uid));
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)
}

/// Gives up every capability, however it was come by.
pub(crate) fn drop_capabilities() -> Result<()> {
    clear_ambient_capability_set()?;
    set_capabilities(
        None,
        CapabilitySets {
            effective: CapabilitySet::empty(),
            permitted: CapabilitySet::empty(),
            inheritable: CapabilitySet::empty(),
        },
    )
}
