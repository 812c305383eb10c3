//! Programs of a registry, built for WASI: what `Host::run_command` runs.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};

use crate::error::Error;
use crate::{BuildScript, Built, compile, directives, environment, target};

/// The program of version `version` of the package `package` of crates.io, for `Host::run_command`.
///
/// The version is exact, and so are those of its dependencies, if the package was published with its
/// lock file. Not every program builds for WASI: it can have no threads, no processes and no network.
pub fn program(package: impl Into<String>, version: impl Into<String>) -> Program {
    Program {
        package: package.into(),
        version: version.into(),
        bin: None,
        features: Vec::new(),
        default_features: true,
        env: Vec::new(),
    }
}

/// A program that is about to be built. Made by [`program`].
#[derive(Debug, Clone)]
#[must_use = "nothing is built before `build` is called"]
pub struct Program {
    package: String,
    version: String,
    bin: Option<String>,
    features: Vec<String>,
    default_features: bool,
    env: Vec<(OsString, OsString)>,
}

impl Program {
    /// Which of the package's programs, if it is not called like the package.
    pub fn bin(mut self, name: impl Into<String>) -> Self {
        self.bin = Some(name.into());
        self
    }

    /// Features of the package to turn on.
    pub fn features<I>(mut self, features: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.features.extend(features.into_iter().map(Into::into));
        self
    }

    /// Turns the package's default features off.
    pub fn no_default_features(mut self) -> Self {
        self.default_features = false;
        self
    }

    /// An environment variable for the program's build, such as `CARGO_PROFILE_RELEASE_LTO`.
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env
            .push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Builds the program and serves it to `include_guest!` under its own name. A failure is printed
    /// and ends the build script.
    pub fn build(self) {
        if let Err(error) = self.try_build() {
            eprintln!("\n{error}\n");
            process::exit(1);
        }
    }

    /// Builds the program, serves it to `include_guest!`, and returns the file that holds the module.
    ///
    /// # Errors
    ///
    /// What is missing, or what cargo said.
    pub fn try_build(self) -> Result<PathBuf, Error> {
        let script = BuildScript::from_env()?;
        let module = self.install(&script)?;
        let built = Built {
            name: self.name().to_owned(),
            // Its sources are those of a version, which do not change.
            sources: vec![module.clone()],
            module,
        };
        for directive in directives(&built) {
            println!("{directive}");
        }
        Ok(built.module)
    }

    fn name(&self) -> &str {
        self.bin.as_deref().unwrap_or(&self.package)
    }

    /// What tells one way to build this version from another.
    fn directory(&self) -> String {
        let mut hasher = DefaultHasher::new();
        (&self.bin, &self.features, self.default_features, &self.env).hash(&mut hasher);
        let Self {
            package, version, ..
        } = self;
        format!("{package}-{version}-{:016x}", hasher.finish())
    }

    fn install(&self, script: &BuildScript) -> Result<PathBuf, Error> {
        let shared = compile::guests_target_dir(&script.out_dir);
        let root = shared.join("programs").join(self.directory());
        let module = root.join("bin").join(format!("{}.wasm", self.name()));
        fs::create_dir_all(&root).map_err(Error::io(&root))?;
        // Two build scripts may want the same one.
        let lock_path = root.join(".stockade-build.lock");
        let lock = File::create(&lock_path).map_err(Error::io(&lock_path))?;
        lock.lock().map_err(Error::io(&lock_path))?;
        // A version is what it is: no registry need be asked again.
        if module.is_file() {
            return Ok(module);
        }
        target::ensure(&script.rustc)?;
        self.run_cargo(script, &shared, &root)?;
        match module.is_file() {
            true => Ok(module),
            false => Err(Error::NoProgram {
                package: self.package.clone(),
                name: self.name().to_owned(),
            }),
        }
    }

    fn run_cargo(&self, script: &BuildScript, shared: &Path, root: &Path) -> Result<(), Error> {
        let mut command = Command::new(&script.cargo);
        environment::clean(&mut command);
        command
            // Away from the configuration of the host's workspace, which is not the program's.
            .current_dir(root)
            .args(["install", &self.package, "--bin", self.name()])
            .args(["--version", &format!("={}", self.version)])
            .args(["--locked", "--no-track", "--target", target::TARGET])
            .arg("--root")
            .arg(root)
            .arg("--target-dir")
            .arg(shared)
            .stdin(Stdio::null());
        if !self.features.is_empty() {
            command.args(["--features", &self.features.join(",")]);
        }
        if !self.default_features {
            command.arg("--no-default-features");
        }
        command.envs(self.env.iter().map(|(key, value)| (key, value)));
        let output = command.output().map_err(Error::io(&script.cargo))?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            return Err(Error::Install {
                package: format!("{} {}", self.package, self.version),
                output: stderr.into_owned(),
            });
        }
        // Shown by `cargo build -vv`.
        eprint!("{stderr}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_to_build_a_version_do_not_meet() {
        let plain = || program("tool", "1.2.3");
        let directories = [
            plain(),
            program("tool", "1.2.4"),
            plain().bin("other"),
            plain().features(["a", "b/c"]),
            plain().no_default_features(),
            plain().env("CARGO_PROFILE_RELEASE_LTO", "off"),
        ]
        .map(|program| program.directory());
        for (index, directory) in directories.iter().enumerate() {
            assert!(!directories[..index].contains(directory), "{directory}");
        }
    }

    #[test]
    fn what_cargo_says_is_in_the_error() {
        let root = std::env::temp_dir().join(format!("stockade-program-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        let script = BuildScript {
            cargo: std::env::var_os("CARGO").unwrap().into(),
            rustc: "rustc".into(),
            manifest_dir: root.clone(),
            out_dir: root.clone(),
        };
        // No version is that, so no registry is asked.
        let error = program("brotli", "no version").install(&script);
        let error = error.unwrap_err().to_string();
        fs::remove_dir_all(&root).unwrap();
        assert!(error.contains("brotli no version"), "{error}");
        assert!(error.contains("invalid value"), "{error}");
    }
}
