//! Which variables of the build script's environment reach the guest's build. Those that describe
//! the host's build would compile the guest for the wrong machine, with the wrong flags or with
//! clippy instead of rustc.

use std::env;
use std::process::Command;

/// Leaves in `command`'s environment what [`reaches_guest`] lets through.
pub(crate) fn clean(command: &mut Command) {
    for (name, _) in env::vars_os() {
        // A name that is not UTF-8 is none of cargo's.
        if name.to_str().is_some_and(|name| !reaches_guest(name)) {
            command.env_remove(name);
        }
    }
}

/// What the user says about registries, the network, output and cargo itself, and the jobserver,
/// without which guests would compete with the host's build for processors.
const CARGO_KEPT: &[&str] = &[
    "CARGO",
    "CARGO_HOME",
    "CARGO_MAKEFLAGS",
    "CARGO_INCREMENTAL",
    "CARGO_BUILD_JOBS",
    "CARGO_LOG",
];
const CARGO_KEPT_PREFIXES: &[&str] = &[
    "CARGO_ALIAS_",
    "CARGO_CACHE_",
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_REGISTRIES_",
    "CARGO_REGISTRY_",
    "CARGO_TERM_",
    "CARGO_UNSTABLE_",
];

/// What cargo and its wrappers say to a build script or to rustc about the host's build.
const DROPPED: &[&str] = &[
    "DEBUG",
    "HOST",
    "LLVM_PROFILE_FILE",
    "NUM_JOBS",
    "OPT_LEVEL",
    "OUT_DIR",
    "PROFILE",
    "RUSTC_LINKER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTDOC",
    "RUSTDOCFLAGS",
    "RUSTFLAGS",
    "TARGET",
];
const DROPPED_PREFIXES: &[&str] = &["__CARGO_", "DEP_", "CLIPPY_"];

fn reaches_guest(name: &str) -> bool {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    if name == "CARGO" || name.starts_with("CARGO_") {
        CARGO_KEPT.contains(&name) || starts(CARGO_KEPT_PREFIXES)
    } else {
        !DROPPED.contains(&name) && !starts(DROPPED_PREFIXES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_hosts_build_reaches_the_guests() {
        for name in [
            "CARGO_ENCODED_RUSTFLAGS",
            "RUSTFLAGS",
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
            "CARGO_BUILD_TARGET",
            "CARGO_BUILD_RUSTFLAGS",
            "CARGO_TARGET_DIR",
            "CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS",
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER",
            "CARGO_PROFILE_RELEASE_DEBUG",
            "CARGO_MANIFEST_DIR",
            "CARGO_PKG_NAME",
            "CARGO_CFG_TARGET_ARCH",
            "CARGO_FEATURE_STD",
            "CARGO_PRIMARY_PACKAGE",
            "CLIPPY_ARGS",
            "DEP_Z_ROOT",
            "LLVM_PROFILE_FILE",
            "OPT_LEVEL",
            "OUT_DIR",
            "TARGET",
        ] {
            assert!(!reaches_guest(name), "{name}");
        }
    }

    #[test]
    fn what_the_user_says_about_the_machine_reaches_the_guests() {
        for name in [
            "PATH",
            "HOME",
            "RUSTC",
            "CARGO_HOME",
            "CARGO_MAKEFLAGS",
            "CARGO_NET_OFFLINE",
            "CARGO_REGISTRIES_MINE_TOKEN",
            "CARGO_TERM_COLOR",
            "RUSTUP_HOME",
            "RUSTUP_TOOLCHAIN",
            "TARGETED",
            "HTTPS_PROXY",
        ] {
            assert!(reaches_guest(name), "{name}");
        }
    }

    #[test]
    fn a_cleaned_command_removes_what_does_not_reach_the_guest() {
        let mut command = Command::new("cargo");
        clean(&mut command);
        let removed: Vec<_> = command
            .get_envs()
            .map(|(name, value)| (name.to_str(), value))
            .collect();
        // Cargo sets this one for tests.
        assert!(removed.contains(&(Some("CARGO_MANIFEST_DIR"), None)));
        assert!(!removed.iter().any(|(name, _)| *name == Some("PATH")));
    }
}
