//! How an executable becomes one of our processes before its `main` runs.
//!
//! A constructor looks for a role in the environment. Without one it does nothing. With one it never
//! returns: no code of the application runs in such a process, except other constructors.
#![expect(
    unsafe_code,
    reason = "a constructor is a function pointer in a section of the executable; the loader's list of \
              programs comes as raw pointers; the environment is changed while the process has one thread"
)]

use std::ffi::{c_int, c_void};
use std::process::ExitCode;

use stockade_wire::role::{Assignment, Role, VARIABLE};

use crate::{compiler, fork_server, init, probe, process, serve};

/// Run by the C library before `main`. The dynamic loader gives it the program's arguments on glibc and
/// nothing on musl, so it takes none.
#[used]
// SAFETY: `.init_array` holds pointers to functions with the C calling convention, which this is.
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = take_role;

extern "C" fn take_role() {
    let Some(value) = std::env::var_os(VARIABLE) else {
        return;
    };
    // SAFETY: other constructors may have started threads; nothing of ours has, and `process::begin` refuses
    // to go on if there are any. A role that stays set would be inherited.
    unsafe { std::env::remove_var(VARIABLE) };
    let Some(assignment) = Assignment::from_value(&value) else {
        process::complain("the role is damaged");
        process::exit(2);
    };
    process::begin(assignment);
    match assignment.role {
        Role::Compiler => compiler::role(assignment),
        Role::Init => init::role(assignment),
        Role::Worker => serve::role(assignment),
        Role::ForkServer => fork_server::role(assignment),
        Role::Probe => probe::role(assignment),
    }
}

/// Where the constructor is. A host calls this: what is never mentioned is not linked, and then there is no
/// constructor.
#[must_use]
pub fn embedded() -> usize {
    // Through an opaque box, or the call could be folded into a constant and the object dropped.
    std::hint::black_box(&raw const CONSTRUCTOR).addr()
}

/// Whether the constructor lies in the executable itself, so that starting that again runs it. It does not
/// in a shared library, such as a Python extension.
#[must_use]
pub fn in_main_program() -> bool {
    struct Search {
        address: usize,
        found: bool,
    }

    /// Is called for the main program first, and ends the search there.
    unsafe extern "C" fn look(
        info: *mut libc::dl_phdr_info,
        _size: libc::size_t,
        search: *mut c_void,
    ) -> c_int {
        // SAFETY: the loader passes a valid entry, and the pointer that `dl_iterate_phdr` was given.
        let (info, search) = unsafe { (&*info, &mut *search.cast::<Search>()) };
        if info.dlpi_phdr.is_null() {
            return 1;
        }
        // SAFETY: the entry says where its headers are and how many.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
        search.found = headers.iter().any(|header| {
            let start = (info.dlpi_addr as usize).wrapping_add(header.p_vaddr as usize);
            header.p_type == libc::PT_LOAD
                && search.address.wrapping_sub(start) < header.p_memsz as usize
        });
        1
    }

    let mut search = Search {
        address: embedded(),
        found: false,
    };
    // SAFETY: `look` has the right type, and `search` lives until the call returns.
    unsafe { libc::dl_iterate_phdr(Some(look), (&raw mut search).cast()) };
    search.found
}

/// The `main` of a program that is nothing but our processes. It only runs when there was no role to take.
#[must_use]
pub fn main() -> ExitCode {
    let _ = embedded();
    eprintln!("stockade-worker: this program is started by stockade hosts, not by hand");
    ExitCode::from(2)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_test_program_has_the_constructor_in_itself() {
        assert!(super::in_main_program());
        assert_ne!(super::embedded(), 0);
    }
}
