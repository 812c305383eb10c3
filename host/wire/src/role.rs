//! How a process learns that it is one of ours: one environment variable, taken before `main`.
//!
//! The role is not in the arguments because constructors get none on musl, and not in a descriptor because
//! the application's own descriptors may be anything.

use std::ffi::OsStr;

/// The environment variable that names the role. Whoever finds it set in a process that is not a worker
/// must refuse to start workers: that executable did not take its role and would spawn itself for ever.
pub const VARIABLE: &str = "STOCKADE_ROLE";

/// What a process of ours is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Turns one module into one artifact, then exits.
    Compiler,
    /// Runs what a module wants to have run once, then exits.
    Init,
    /// Runs guest code, one call at a time.
    Worker,
    /// Has loaded an artifact, and forks workers that run it.
    ForkServer,
    /// Seals itself as a worker does, tries its walls, and ends. It never sees a module that is not its own.
    Probe,
}

/// A role and the process that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assignment {
    /// What to be.
    pub role: Role,
    /// The process id of the host. A process whose parent is another one has outlived its host.
    pub host: u32,
}

impl Assignment {
    /// The value of [`VARIABLE`] that gives this role.
    #[must_use]
    pub fn to_value(self) -> String {
        let role = match self.role {
            Role::Compiler => "compiler",
            Role::Init => "init",
            Role::Worker => "worker",
            Role::ForkServer => "fork-server",
            Role::Probe => "probe",
        };
        format!("{role}:{}", self.host)
    }

    /// Reads a value of [`VARIABLE`].
    #[must_use]
    pub fn from_value(value: &OsStr) -> Option<Self> {
        let (role, host) = value.to_str()?.split_once(':')?;
        let role = match role {
            "compiler" => Role::Compiler,
            "init" => Role::Init,
            "worker" => Role::Worker,
            "fork-server" => Role::ForkServer,
            "probe" => Role::Probe,
            _ => return None,
        };
        Some(Self {
            role,
            host: host.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_survives_its_text_form() {
        for role in [
            Role::Compiler,
            Role::Init,
            Role::Worker,
            Role::ForkServer,
            Role::Probe,
        ] {
            let given = Assignment { role, host: 4711 };
            assert_eq!(
                Assignment::from_value(given.to_value().as_ref()),
                Some(given)
            );
        }
        for bad in ["", "worker", "worker:", "worker:x", "king:1"] {
            assert_eq!(Assignment::from_value(bad.as_ref()), None);
        }
    }
}
