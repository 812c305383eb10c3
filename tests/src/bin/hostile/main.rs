//! A worker program that lies. It speaks the worker protocol well enough to be believed, and breaks one
//! rule at a time, as its module says: the module is no wasm, but the name of what is to be done.
//!
//! `compiler:NAME` misbehaves as the compiler, `init:NAME` as the process that runs an initialisation, `forks:NAME`
//! as the fork server; `compiler:retire:NAME` as a worker whose guest is asked whether it is worn out. `NAME`
//! misbehaves as every worker, `NAME@2` as worker 2 only, `NAME@2+` as that and all later ones; all other processes
//! are honest. Of a name that is not in its list it does nothing but complain.

mod compiler;
mod forks;
mod init;
// Neither as a dependency: that would bring an honest worker's constructor along, which takes the role first.
#[expect(unreachable_pub, reason = "others need it")]
#[path = "../../lies.rs"]
mod lies;
#[expect(dead_code, unreachable_pub, reason = "others need the rest")]
#[path = "../../random.rs"]
mod random;
mod slot;
mod sys;
mod worker;

use std::process::ExitCode;

use stockade_wire::message::ProbeMessage;
use stockade_wire::role::{Assignment, Role, VARIABLE};

/// What a process of a role is to do, if it has it in it.
///
/// # Panics
/// When it has not.
pub(crate) fn known<'a>(what: &'a str, lies: &[&str]) -> &'a str {
    assert!(lies::is_known(what, lies), "hostile: it cannot do {what}");
    what
}

fn main() -> ExitCode {
    let value = std::env::var_os(VARIABLE).unwrap_or_default();
    let Some(assignment) = Assignment::from_value(&value) else {
        eprintln!("hostile: this program is started by tests, not by hand");
        return ExitCode::from(2);
    };
    sys::begin();
    match assignment.role {
        Role::Compiler => compiler::role(),
        Role::Init => init::role(),
        Role::Worker => worker::role(),
        Role::ForkServer => forks::role(),
        // It has built nothing, and says that everything stands.
        Role::Probe => sys::tell(&ProbeMessage::Over),
    }
    ExitCode::SUCCESS
}
