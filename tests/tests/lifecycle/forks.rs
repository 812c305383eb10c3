//! A fork of the application has a copy of its hosts, but not their workers.
#![expect(unsafe_code, reason = "the application forks")]

use stockade::Error;
use stockade_tests::alone;

use crate::by_hand::ByHand;
use crate::hosts::{only_pid, probe};

#[test]
fn a_fork_of_the_application_neither_uses_nor_ends_its_parents_workers() {
    alone(|| {
        let (builder, _) = probe();
        let host = builder.workers(1).build_blocking().unwrap();
        let echo = |n: u64| -> Result<u64, Error> {
            ByHand::new(host.run_sync("echo_u64", (n,))).finish()
        };
        assert_eq!(echo(1).unwrap(), 1);
        let worker = only_pid(&host);
        // SAFETY: the child uses no lock that another thread can have held: this is the only thread of the
        // application, and the supervisor is asleep.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let refused = matches!(echo(2), Err(Error::Closed));
            drop(host);
            // SAFETY: the child must not run the parent's destructors and exit handlers.
            unsafe { libc::_exit(if refused { 0 } else { 1 }) }
        }
        let mut status = 0;
        // SAFETY: `status` is valid for one `int`.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0, "the child was served by its parent's worker");
        assert_eq!(echo(3).unwrap(), 3);
        assert_eq!(only_pid(&host), worker);
    });
}
