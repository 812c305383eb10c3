//! The attacks. Each is what its name says and returns `Ok` only if it had its effect.

mod files;
mod kernel;
mod memory;
mod network;
mod paths;
mod processes;
mod programs;
mod shared;

use crate::escape::outcome::Attempt;
use crate::escape::stage::{Stage, Targets};

/// What an attacker finds around it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field<'a> {
    pub(crate) stage: &'a Stage,
    pub(crate) targets: Targets,
    pub(crate) sibling: libc::pid_t,
}

/// One attack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Field<'_>) -> Attempt,
}

const fn attack(name: &'static str, run: fn(&Field<'_>) -> Attempt) -> Attack {
    Attack { name, run }
}

pub(crate) fn all() -> impl Iterator<Item = &'static Attack> {
    [
        files::ATTACKS,
        processes::ATTACKS,
        network::ATTACKS,
        programs::ATTACKS,
        memory::ATTACKS,
        shared::ATTACKS,
        kernel::ATTACKS,
    ]
    .into_iter()
    .flatten()
}

/// The same, and those by calls that workers with granted directories, or fork servers, may make.
pub(crate) fn of_roles() -> impl Iterator<Item = &'static Attack> {
    all().chain(paths::ATTACKS).chain(programs::OF_FORK_SERVERS)
}
