//! What the kernel does with the tables: each call is made by a child under the real filter.
//!
//! Each table has calls that must be possible under it and calls that must not ([`tables`]), and the tables
//! themselves are changed: without any one row, and with any one check weaker, one of those calls ends differently.
//! So a row or a check that no call here is about fails these tests.
#![expect(
    unsafe_code,
    reason = "a child process that makes one raw system call and ends"
)]

mod calls;
mod tables;

use std::ffi::{c_int, c_long};

use super::*;
use calls::{Call, OWN};
use tables::Table;

/// How a child ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// It made the call and went on.
    Lived,
    /// The kernel killed it for the call.
    Killed,
    Other(c_int),
}

/// Ends a child, whose `then` says with what code.
///
/// It allocates although the harness has other threads: the C library's `fork` leaves the allocator usable.
fn in_child(then: impl FnOnce() -> c_int) -> End {
    // SAFETY: the child only allocates, makes system calls and ends by `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let code = then();
        // SAFETY: `_exit` is always sound.
        unsafe { libc::_exit(code) }
    }
    let mut status = 0;
    // SAFETY: `status` outlives the call, and the child is ours alone.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    match status {
        0 => End::Lived,
        _ if libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSYS => End::Killed,
        other => End::Other(other),
    }
}

/// The same call, as this process makes it.
fn own((call, arguments): Call) -> Call {
    let own = c_long::from(std::process::id());
    let arguments = arguments.map(|argument| match argument {
        OWN => own,
        other => other,
    });
    (call, arguments)
}

/// In a child that is about to end: makes a call, and no other one.
fn make((call, [a, b, c, d, e, f]): Call) -> Result<(), c_int> {
    // SAFETY: the arguments name memory of the kernel's choice, a text or none, so no object is changed; and whatever
    // the call does to this process, it is about to end, as is one that it forks.
    match unsafe { libc::syscall(call, a, b, c, d, e, f) } {
        -1 => Err(std::io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or_default()),
        _ => Ok(()),
    }
}

/// No error number is so large.
const NO_FILTER: c_int = 255;

/// Makes a call in a child, under a filter if there is one. The rules may name the process that they are for, so the
/// child itself makes them.
fn attempt(rules: Option<&dyn Fn() -> Vec<Rule>>, call: Call) -> End {
    let end = in_child(|| {
        let call = own(call);
        let filter = rules.map(|rules| compile(&rules()));
        match &filter {
            Some(Ok(filter)) if filter.apply().is_ok() => {}
            None => {}
            _ => return NO_FILTER,
        }
        let _ = make(call);
        // To give memory back may take a call that the filter forbids.
        std::mem::forget(filter);
        0
    });
    assert_ne!(end, End::Other(NO_FILTER << 8), "there is no filter");
    end
}

#[test]
fn what_each_role_needs_is_allowed() {
    for Table {
        role,
        rules,
        needed,
        ..
    } in tables::all()
    {
        for call in needed {
            let end = attempt(Some(&rules), call);
            assert_ne!(end, End::Killed, "{role}: {call:?}");
        }
    }
}

#[test]
fn what_an_escaped_guest_would_try_kills_it() {
    for table in tables::all() {
        for &call in &table.forbidden {
            let end = attempt(Some(&table.rules), call);
            assert_eq!(end, End::Killed, "{}: {call:?}", table.role);
        }
    }
}

/// Otherwise it would prove nothing that they do not go on.
#[test]
fn without_a_filter_whoever_tries_it_goes_on() {
    for call in tables::all().into_iter().flat_map(|table| table.forbidden) {
        assert_eq!(attempt(None, call), End::Lived, "{call:?}");
    }
}

/// A row that nothing needs is a hole; one that is lost must be missed.
#[test]
fn without_any_one_row_something_needed_is_forbidden() {
    for Table {
        role,
        rules,
        needed,
        ..
    } in tables::all()
    {
        for (index, lost) in rules().iter().enumerate() {
            let remaining = || {
                let mut rules = rules();
                rules.remove(index);
                rules
            };
            let mut candidates = needed.iter().filter(|(call, _)| *call == lost.call);
            let missed = candidates.any(|&call| attempt(Some(&remaining), call) == End::Killed);
            assert!(missed, "{role}: nothing needs {lost:?}");
        }
    }
}

/// The checks that allow a little more than this one: `None` is no check at all.
fn weaker(check: Check) -> Vec<Option<Check>> {
    let bits = |mask: u64| {
        (0..64)
            .map(|bit| 1 << bit)
            .filter(move |bit| mask & bit != 0)
    };
    match check {
        Check::Int(..) | Check::NotNull(_) => vec![None],
        Check::AtLeast(argument, least) => vec![Some(Check::AtLeast(argument, least - 1))],
        Check::Without(argument, mask) => bits(mask)
            .map(|bit| Some(Check::Without(argument, mask & !bit)))
            .collect(),
        Check::Bits(argument, mask, set) => bits(mask.into())
            .map(|bit| {
                Some(Check::Bits(
                    argument,
                    mask & !(bit as u32),
                    set & !(bit as u32),
                ))
            })
            .collect(),
    }
}

/// The table with one check of one row replaced.
fn with(mut rules: Vec<Rule>, row: usize, check: usize, other: Option<Check>) -> Vec<Rule> {
    let checks = &mut rules[row].checks;
    match other {
        Some(other) => checks[check] = other,
        None => drop(checks.remove(check)),
    }
    if rules[row].checks.is_empty() {
        // A call that is allowed whatever its arguments has no other rows.
        let call = rules[row].call;
        let mut index = 0;
        rules.retain(|rule| {
            index += 1;
            rule.call != call || index == row + 1
        });
    }
    rules
}

/// A check that forbids nothing is no check; one that is lost, or one bit of it, must be seen.
#[test]
fn with_any_one_check_weaker_something_forbidden_is_allowed() {
    for Table {
        role,
        rules,
        forbidden,
        ..
    } in tables::all()
    {
        for (row, rule) in rules().iter().enumerate() {
            for (index, check) in rule.checks.iter().enumerate() {
                for other in weaker(*check) {
                    let weak = || with(rules(), row, index, other);
                    let mut candidates = forbidden.iter().filter(|(call, _)| *call == rule.call);
                    let seen = candidates.any(|&call| attempt(Some(&weak), call) != End::Killed);
                    assert!(seen, "{role}: {rule:?} with {other:?} instead of {check:?}");
                }
            }
        }
    }
}

/// What a call is answered under both filters of a worker with files.
fn answer_with(refused: &dyn Fn() -> Vec<Rule>, call: Call) -> Option<c_int> {
    let end = in_child(|| {
        let call = own(call);
        let politely = program(
            &refused(),
            Answer::Allow,
            Answer::Refuse(libc::ENOTSUP as u16),
        );
        let up = rustix::thread::set_no_new_privs(true).is_ok()
            && politely.is_ok_and(|filter| filter.apply().is_ok())
            && compile(&tables::of_worker_with_files()).is_ok_and(|filter| filter.apply().is_ok());
        match up {
            true => make(call).err().unwrap_or_default(),
            false => NO_FILTER,
        }
    });
    match end {
        End::Lived => Some(0),
        End::Other(status) if libc::WIFEXITED(status) => Some(libc::WEXITSTATUS(status)),
        _ => None,
    }
}

#[test]
fn polite_refusals_are_errors_and_of_what_nobody_needs() {
    let polite = |rules: &dyn Fn() -> Vec<Rule>, call| {
        let answer = answer_with(rules, call);
        assert!(answer.is_some_and(|errno| errno != NO_FILTER), "{call:?}");
        answer == Some(libc::ENOTSUP)
    };
    for call in calls::POLITELY_REFUSED.iter().copied() {
        assert!(polite(&files::refused, call), "{call:?}");
    }
    for call in calls::FILES_NEEDED.iter().copied() {
        let is_refused = calls::POLITELY_REFUSED.contains(&call);
        assert_eq!(polite(&files::refused, call), is_refused, "{call:?}");
    }
    for (index, rule) in files::refused().iter().enumerate() {
        let remaining = || {
            let mut rules = files::refused();
            rules.remove(index);
            rules
        };
        let missed = |&call: &Call| call.0 == rule.call && !polite(&remaining, call);
        assert!(calls::POLITELY_REFUSED.iter().any(missed), "{rule:?}");
        for (at, check) in rule.checks.iter().enumerate() {
            for other in weaker(*check) {
                let weak = || with(files::refused(), index, at, other);
                let needed = calls::FILES_NEEDED.iter();
                let mut needed = needed.filter(|call| !calls::POLITELY_REFUSED.contains(call));
                let seen = needed.any(|&call| call.0 == rule.call && polite(&weak, call));
                assert!(seen, "{rule:?} with {other:?} instead of {check:?}");
            }
        }
    }
}
