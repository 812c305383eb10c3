//! Builds [Stockade](https://docs.rs/stockade) guests from a host's build script.
//!
//! In the host's `Cargo.toml`:
//!
//! ```toml
//! [build-dependencies]
//! stockade-build = "0.1"
//! ```
//!
//! In its `build.rs`:
//!
//! ```no_run
//! stockade_build::guest("../guests/hello").build();
//! ```
//!
//! In its source, [`stockade::include_guest!("hello")`](https://docs.rs/stockade/latest/stockade/macro.include_guest.html)
//! is then the module's bytes, under the name of the guest's package.
//!
//! The guest is compiled for `wasm32-wasip1`, optimised, by the cargo that runs the build script,
//! and again whenever one of its files or of its path dependencies changes. The target is added
//! with rustup if it is missing; where that cannot be, the error names the command. All hosts of a
//! workspace share one target directory for guests, beside their own artifacts.
//!
//! # Choices
//!
//! ```no_run
//! stockade_build::guest("../guests/search")
//!     .name("fast-search") // what `include_guest!` calls it
//!     .features(["unicode"])
//!     .env("RUSTFLAGS", "-C target-feature=+simd128")
//!     .build();
//! ```
//!
//! What is said of the host's own build, its flags and its profile, does not reach the guest.
//!
//! # Programs that somebody published
//!
//! Whole programs, for `Host::run_command`, come from the package registry by their version:
//!
//! ```no_run
//! stockade_build::program("brotli", "9.1.1").build();
//! ```
//!
//! # Without ending the build script
//!
//! A failure is printed and ends the build script, as an error in the host's own code would. To do
//! something else, [`Guest::try_build`] returns it, or the file that holds the module:
//!
//! ```no_run
//! match stockade_build::guest("../guests/hello").try_build() {
//!     Ok(module) => println!("cargo::warning={} bytes", std::fs::metadata(module).map_or(0, |m| m.len())),
//!     Err(error) => println!("cargo::warning=built without its guest: {error}"),
//! }
//! ```

mod compile;
mod environment;
mod error;
mod program;
mod sources;
mod target;

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process;

pub use crate::error::Error;
pub use crate::program::{Program, program};

/// The guest crate at `path`, which is relative to the manifest of the crate whose build script
/// this is.
pub fn guest(path: impl AsRef<Path>) -> Guest {
    Guest {
        path: path.as_ref().to_owned(),
        name: None,
        profile: "release".to_owned(),
        features: Vec::new(),
        default_features: true,
        env: Vec::new(),
    }
}

/// A guest crate that is about to be built. Made by [`guest`].
#[derive(Debug, Clone)]
#[must_use = "nothing is built before `build` is called"]
pub struct Guest {
    path: PathBuf,
    name: Option<String>,
    profile: String,
    features: Vec<String>,
    default_features: bool,
    env: Vec<(OsString, OsString)>,
}

impl Guest {
    /// The name under which `include_guest!` finds the guest. By default that of its package.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The cargo profile. By default `release`, whatever the host's: guests that are not optimised
    /// are tens of times slower, and a profile of one's own, such as one with `debug = true`, goes
    /// into the manifest of the guest.
    pub fn profile(mut self, profile: impl Into<String>) -> Self {
        self.profile = profile.into();
        self
    }

    /// Features of the guest's package to turn on.
    pub fn features<I>(mut self, features: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.features.extend(features.into_iter().map(Into::into));
        self
    }

    /// Turns the default features of the guest's package off.
    pub fn no_default_features(mut self) -> Self {
        self.default_features = false;
        self
    }

    /// An environment variable for the guest's build. `RUSTFLAGS` and the like of the host's own
    /// build do not reach it; set here, they do.
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env
            .push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Builds the guest and serves it to `include_guest!`. A failure is printed and ends the build
    /// script, as a failure to compile the host would.
    pub fn build(self) {
        if let Err(error) = self.try_build() {
            eprintln!("\n{error}\n");
            process::exit(1);
        }
    }

    /// Builds the guest, serves it to `include_guest!`, and returns the file that holds the module.
    ///
    /// # Errors
    ///
    /// What is missing, or what cargo said.
    pub fn try_build(self) -> Result<PathBuf, Error> {
        let script = BuildScript::from_env()?;
        let built = compile::compile(&self, &script)?;
        for directive in directives(&built) {
            println!("{directive}");
        }
        Ok(built.module)
    }
}

/// The build script that this runs in.
#[derive(Debug)]
struct BuildScript {
    cargo: PathBuf,
    rustc: PathBuf,
    manifest_dir: PathBuf,
    out_dir: PathBuf,
}

impl BuildScript {
    fn from_env() -> Result<Self, Error> {
        let variable = |name| {
            env::var_os(name)
                .map(PathBuf::from)
                .ok_or(Error::NotABuildScript { variable: name })
        };
        Ok(Self {
            cargo: variable("CARGO")?,
            rustc: variable("RUSTC")?,
            manifest_dir: variable("CARGO_MANIFEST_DIR")?,
            out_dir: variable("OUT_DIR")?,
        })
    }
}

/// A guest that was built.
#[derive(Debug)]
struct Built {
    name: String,
    module: PathBuf,
    /// Every file that a rebuild depends on.
    sources: Vec<PathBuf>,
}

/// What the build script tells cargo.
fn directives(built: &Built) -> Vec<String> {
    let module = built.module.display();
    let mut directives: Vec<String> = built
        .sources
        .iter()
        .map(|source| format!("cargo::rerun-if-changed={}", source.display()))
        .collect();
    directives.push(format!(
        "cargo::rustc-env=STOCKADE_GUEST_{}={module}",
        built.name
    ));
    let underscored = built.name.replace('-', "_");
    if underscored != built.name {
        directives.push(format!(
            "cargo::rustc-env=STOCKADE_GUEST_{underscored}={module}"
        ));
    }
    directives
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_served_under_both_spellings_of_its_name() {
        let built = Built {
            name: "my-guest".to_owned(),
            module: "/out/my-guest.wasm".into(),
            sources: vec!["/guest/src/lib.rs".into()],
        };
        assert_eq!(
            directives(&built),
            [
                "cargo::rerun-if-changed=/guest/src/lib.rs",
                "cargo::rustc-env=STOCKADE_GUEST_my-guest=/out/my-guest.wasm",
                "cargo::rustc-env=STOCKADE_GUEST_my_guest=/out/my-guest.wasm",
            ]
        );
    }
}
