//! The tables of all roles, with what is needed under each and what is forbidden.

use stockade_wire::message::StopBy;

use super::super::{Fds, Rule, compiler, forking, initializer, worker};
use super::calls::{self, Call, EVENTFD, OUTPUT, PAGEMAP};

/// A table and what is said of it.
pub(super) struct Table {
    pub(super) role: &'static str,
    pub(super) rules: fn() -> Vec<Rule>,
    /// For each row there is one that only this row allows.
    pub(super) needed: Vec<Call>,
    /// For each check there is one that only this check forbids.
    pub(super) forbidden: Vec<Call>,
}

fn fds(pagemap: bool) -> Fds {
    Fds {
        eventfd: EVENTFD,
        pagemap: pagemap.then_some(PAGEMAP),
    }
}

pub(super) fn of_worker_with_files() -> Vec<Rule> {
    worker(fds(true), StopBy::Signal, true)
}

pub(super) fn all() -> [Table; 8] {
    use calls::{
        ALARM, BY_ESCAPED, COMMON, FILES_NEEDED, NOT_ON_FILES, OF_FORK_SERVER, OF_LOADING,
        OF_PID_ONE, OUTPUTS, RESET, RING, TO_FORK_SERVER,
    };
    [
        Table {
            role: "worker",
            rules: || worker(fds(true), StopBy::Signal, false),
            needed: [COMMON, RING, ALARM, RESET].concat(),
            forbidden: [BY_ESCAPED, OUTPUTS, FILES_NEEDED].concat(),
        },
        Table {
            role: "worker of a kernel that scans no page map, whose guest looks for a stop",
            rules: || worker(fds(false), StopBy::Epoch, false),
            needed: [COMMON, RING].concat(),
            forbidden: [BY_ESCAPED, ALARM, RESET].concat(),
        },
        Table {
            role: "worker with files",
            rules: of_worker_with_files,
            needed: [COMMON, RING, ALARM, RESET, FILES_NEEDED].concat(),
            forbidden: [BY_ESCAPED, NOT_ON_FILES].concat(),
        },
        Table {
            role: "initialiser",
            rules: || initializer(OUTPUT),
            needed: [COMMON, OUTPUTS].concat(),
            forbidden: [BY_ESCAPED, RING, ALARM, RESET, FILES_NEEDED].concat(),
        },
        Table {
            role: "compiler",
            rules: || compiler(OUTPUT),
            needed: [COMMON, OUTPUTS].concat(),
            forbidden: [BY_ESCAPED, RING, RESET, FILES_NEEDED].concat(),
        },
        // Filters stack: what a server forbids its workers cannot do.
        Table {
            role: "fork server that loads its artifact",
            rules: || forking::loading(StopBy::Signal),
            needed: [COMMON, RING, ALARM, RESET, OF_FORK_SERVER, OF_LOADING].concat(),
            forbidden: TO_FORK_SERVER.to_vec(),
        },
        Table {
            role: "fork server",
            rules: || forking::serving(StopBy::Signal),
            needed: [COMMON, RING, ALARM, RESET, OF_FORK_SERVER].concat(),
            // What loading takes is gone afterwards.
            forbidden: [TO_FORK_SERVER, OF_LOADING].concat(),
        },
        Table {
            role: "process 1 of a pid namespace",
            rules: forking::pid_one,
            needed: OF_PID_ONE.to_vec(),
            forbidden: calls::to_pid_one(),
        },
    ]
}
