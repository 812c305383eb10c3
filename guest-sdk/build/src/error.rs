//! Why a guest was not built.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::target::TARGET;

/// Why a guest was not built. Its text says what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A variable that cargo sets for build scripts is missing.
    NotABuildScript {
        /// Its name.
        variable: &'static str,
    },
    /// There is no package where the guest should be.
    NoGuest {
        /// The manifest that was looked for.
        manifest: PathBuf,
    },
    /// The compiler lacks the target, and rustup did not add it.
    NoTarget {
        /// What rustup said, or why it did not run.
        reason: String,
    },
    /// cargo failed to build the guest.
    Build {
        /// The guest's manifest.
        manifest: PathBuf,
        /// What cargo and the compiler printed.
        output: String,
    },
    /// cargo failed to build a program.
    Install {
        /// Its package and version.
        package: String,
        /// What cargo and the compiler printed.
        output: String,
    },
    /// The package has no such program.
    NoProgram {
        /// The package.
        package: String,
        /// The program that it lacks.
        name: String,
    },
    /// The package has no library that compiles to a module.
    NoModule {
        /// The guest's manifest.
        manifest: PathBuf,
    },
    /// A file could not be used, or a program not be run.
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotABuildScript { variable } => {
                write!(
                    f,
                    "guests are built by a build script: cargo has not set `{variable}`"
                )
            }
            Self::NoGuest { manifest } => {
                write!(f, "no guest crate: there is no {}", manifest.display())
            }
            Self::NoTarget { reason } => write!(
                f,
                "guests need the compiler's target {TARGET}; add it with \
                 `rustup target add {TARGET}`, or install the package of your distribution that \
                 holds it ({reason})"
            ),
            Self::Build { manifest, output } => {
                write!(
                    f,
                    "the guest {} does not build:\n\n{}",
                    manifest.display(),
                    output.trim_end()
                )
            }
            Self::Install { package, output } => write!(
                f,
                "the program {package} does not build for {TARGET}:\n\n{}",
                output.trim_end()
            ),
            Self::NoProgram { package, name } => write!(
                f,
                "the package {package} was built, but made no {name}.wasm: name one of its programs with `bin`"
            ),
            Self::NoModule { manifest } => write!(
                f,
                "the guest {} makes no module: give it a library with `crate-type = [\"cdylib\", \
                 \"rlib\"]`",
                manifest.display()
            ),
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
