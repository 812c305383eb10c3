//! Every function of preview 1 with its type, so that the compiler can check a module's imports and the
//! worker can link those that it does not implement.

use crate::abi::Ty;

use super::errno::{BADF, NOSYS};

/// A function of preview 1.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) params: &'static [Ty],
    /// Whether it returns an error number; `proc_exit` alone does not return.
    pub(crate) returns: bool,
    /// The error number with which it is refused, if it is.
    pub(super) refused_with: Option<i32>,
}

use Ty::{I32 as I, I64 as L};

const fn done(name: &'static str, params: &'static [Ty]) -> Function {
    Function {
        name,
        params,
        returns: true,
        refused_with: None,
    }
}

/// What needs a file, a directory or a socket: there is no such descriptor, which every libc understands.
const fn no_file(name: &'static str, params: &'static [Ty]) -> Function {
    Function {
        refused_with: Some(BADF),
        ..done(name, params)
    }
}

pub(crate) const FUNCTIONS: &[Function] = &[
    done("args_get", &[I, I]),
    done("args_sizes_get", &[I, I]),
    done("environ_get", &[I, I]),
    done("environ_sizes_get", &[I, I]),
    done("clock_res_get", &[I, I]),
    done("clock_time_get", &[I, L, I]),
    no_file("fd_advise", &[I, L, L, I]),
    no_file("fd_allocate", &[I, L, L]),
    done("fd_close", &[I]),
    no_file("fd_datasync", &[I]),
    done("fd_fdstat_get", &[I, I]),
    done("fd_fdstat_set_flags", &[I, I]),
    no_file("fd_fdstat_set_rights", &[I, L, L]),
    done("fd_filestat_get", &[I, I]),
    no_file("fd_filestat_set_size", &[I, L]),
    no_file("fd_filestat_set_times", &[I, L, L, I]),
    no_file("fd_pread", &[I, I, I, L, I]),
    no_file("fd_prestat_dir_name", &[I, I, I]),
    // How a libc learns that no directory was granted.
    no_file("fd_prestat_get", &[I, I]),
    no_file("fd_pwrite", &[I, I, I, L, I]),
    done("fd_read", &[I, I, I, I]),
    no_file("fd_readdir", &[I, I, I, L, I]),
    no_file("fd_renumber", &[I, I]),
    done("fd_seek", &[I, L, I, I]),
    no_file("fd_sync", &[I]),
    done("fd_tell", &[I, I]),
    done("fd_write", &[I, I, I, I]),
    no_file("path_create_directory", &[I, I, I]),
    no_file("path_filestat_get", &[I, I, I, I, I]),
    no_file("path_filestat_set_times", &[I, I, I, I, L, L, I]),
    no_file("path_link", &[I, I, I, I, I, I, I]),
    no_file("path_open", &[I, I, I, I, I, L, L, I, I]),
    no_file("path_readlink", &[I, I, I, I, I, I]),
    no_file("path_remove_directory", &[I, I, I]),
    no_file("path_rename", &[I, I, I, I, I, I]),
    no_file("path_symlink", &[I, I, I, I, I]),
    no_file("path_unlink_file", &[I, I, I]),
    done("poll_oneoff", &[I, I, I, I]),
    Function {
        returns: false,
        ..done("proc_exit", &[I])
    },
    Function {
        refused_with: Some(NOSYS),
        ..done("proc_raise", &[I])
    },
    done("random_get", &[I, I]),
    done("sched_yield", &[]),
    no_file("sock_accept", &[I, I, I]),
    no_file("sock_recv", &[I, I, I, I, I, I]),
    no_file("sock_send", &[I, I, I, I, I]),
    no_file("sock_shutdown", &[I, I]),
];
