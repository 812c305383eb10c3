//! The nested cargo: runs it in a target directory that guests share, and takes the module out.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::error::Error;
use crate::{BuildScript, Built, Guest, environment, sources, target};

pub(crate) fn compile(guest: &Guest, script: &BuildScript) -> Result<Built, Error> {
    let guest_dir = script.manifest_dir.join(&guest.path);
    let manifest = guest_dir.join("Cargo.toml");
    if !manifest.is_file() {
        return Err(Error::NoGuest { manifest });
    }
    // Cargo names files by their resolved paths, and dep-info is compared with those.
    let guest_dir = guest_dir.canonicalize().map_err(Error::io(&guest_dir))?;
    let manifest = guest_dir.join("Cargo.toml");
    target::ensure(&script.rustc)?;

    let target_dir = guests_target_dir(&script.out_dir);
    fs::create_dir_all(&target_dir).map_err(Error::io(&target_dir))?;
    // Another build script may build this guest with other features into the same file. It must not
    // between cargo's end and the copy.
    let lock_path = target_dir.join(".stockade-build.lock");
    let lock = File::create(&lock_path).map_err(Error::io(&lock_path))?;
    lock.lock().map_err(Error::io(&lock_path))?;

    let output = run_cargo(guest, script, &guest_dir, &target_dir)?;
    let artifacts = parse(&output);
    let (artifact, compiled) = artifacts
        .iter()
        .filter(|artifact| artifact.manifest == manifest)
        .find_map(|artifact| Some((artifact, artifact.module.as_deref()?)))
        .ok_or_else(|| Error::NoModule {
            manifest: manifest.clone(),
        })?;

    let name = guest
        .name
        .clone()
        .unwrap_or_else(|| artifact.package.clone());
    let module = script.out_dir.join(format!("{name}.wasm"));
    copy_if_different(compiled, &module)?;
    let dep_info = compiled.with_extension("d");
    let dep_info = fs::read_to_string(&dep_info).map_err(Error::io(&dep_info))?;
    let manifests: Vec<PathBuf> = artifacts
        .iter()
        .filter(|artifact| artifact.is_local)
        .map(|artifact| artifact.manifest.clone())
        .collect();
    Ok(Built {
        name,
        module,
        sources: sources::sources(&guest_dir, &dep_info, &manifests),
    })
}

/// A directory in the host's target directory, shared so that one guest is built once for all hosts
/// of a workspace. Cargo's own locks there are not those that the outer cargo holds.
pub(crate) fn guests_target_dir(out_dir: &Path) -> PathBuf {
    let target_dir = out_dir
        .ancestors()
        .skip(1)
        .find(|directory| directory.join("CACHEDIR.TAG").is_file());
    target_dir.unwrap_or(out_dir).join("stockade-guests")
}

fn run_cargo(
    guest: &Guest,
    script: &BuildScript,
    guest_dir: &Path,
    target_dir: &Path,
) -> Result<String, Error> {
    let mut command = Command::new(&script.cargo);
    environment::clean(&mut command);
    command
        .current_dir(guest_dir)
        .args([
            "build",
            "--lib",
            "--message-format",
            "json-render-diagnostics",
            "--target",
            target::TARGET,
        ])
        .args(["--profile", &guest.profile])
        .arg("--target-dir")
        .arg(target_dir)
        .stdin(Stdio::null());
    if !guest.features.is_empty() {
        command.args(["--features", &guest.features.join(",")]);
    }
    if !guest.default_features {
        command.arg("--no-default-features");
    }
    command.envs(guest.env.iter().map(|(key, value)| (key, value)));

    let output = command.output().map_err(Error::io(&script.cargo))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(Error::Build {
            manifest: guest_dir.join("Cargo.toml"),
            output: stderr.into_owned(),
        });
    }
    // Shown by `cargo build -vv`.
    eprint!("{stderr}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// One thing that cargo built, or found built.
struct Artifact {
    package: String,
    manifest: PathBuf,
    /// Whether it lies in the file system rather than in a registry.
    is_local: bool,
    module: Option<PathBuf>,
}

fn parse(output: &str) -> Vec<Artifact> {
    let artifact = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        if message["reason"] != "compiler-artifact" {
            return None;
        }
        let id = message["package_id"].as_str()?;
        let manifest = PathBuf::from(message["manifest_path"].as_str()?);
        let mut files = message["filenames"]
            .as_array()?
            .iter()
            .filter_map(Value::as_str);
        Some(Artifact {
            package: package_name(&manifest, &message),
            is_local: id.starts_with("path+"),
            module: files
                .find(|file| file.ends_with(".wasm"))
                .map(PathBuf::from),
            manifest,
        })
    };
    output.lines().filter_map(artifact).collect()
}

/// The id is `path+file:///dir#version` where the package is called like its directory, else
/// `path+file:///dir#name@version`.
fn package_name(manifest: &Path, message: &Value) -> String {
    let id = message["package_id"].as_str().unwrap_or_default();
    let fragment = id.rsplit_once('#').map_or("", |(_, fragment)| fragment);
    match fragment.split_once('@') {
        Some((name, _)) => name.to_owned(),
        None => manifest
            .parent()
            .and_then(Path::file_name)
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default(),
    }
}

/// A module that is the same keeps its time, and the host need not be compiled again.
fn copy_if_different(from: &Path, to: &Path) -> Result<(), Error> {
    let module = fs::read(from).map_err(Error::io(from))?;
    if fs::read(to).is_ok_and(|present| present == module) {
        return Ok(());
    }
    fs::write(to, module).map_err(Error::io(to))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIBRARY: &str = "[lib]\ncrate-type = [\"cdylib\"]\n";

    /// A host, a guest without dependencies of the registry, and a target directory, in a directory
    /// of their own.
    struct Project(PathBuf);

    impl Project {
        fn new(test: &str) -> Self {
            let root =
                std::env::temp_dir().join(format!("stockade-build-{test}-{}", std::process::id()));
            fs::create_dir_all(&root).unwrap();
            let project = Self(root.canonicalize().unwrap());
            project.write("target/CACHEDIR.TAG", "");
            project.write("target/debug/build/host-1/out/keep", "");
            project.write("guest/Cargo.toml", &Self::manifest("my-guest", LIBRARY));
            project.write(
                "guest/src/lib.rs",
                "#[unsafe(no_mangle)]\npub extern \"C\" fn answer() -> u32 { 42 }\n",
            );
            project
        }

        fn manifest(name: &str, rest: &str) -> String {
            format!(
                "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\
                 [workspace]\n{rest}"
            )
        }

        fn write(&self, path: &str, content: &str) {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }

        fn compile(&self, guest: Guest) -> Result<Built, Error> {
            let script = BuildScript {
                cargo: std::env::var_os("CARGO").unwrap().into(),
                rustc: "rustc".into(),
                manifest_dir: self.0.join("host"),
                out_dir: self.0.join("target/debug/build/host-1/out"),
            };
            fs::create_dir_all(&script.manifest_dir).unwrap();
            compile(&guest, &script)
        }
    }

    impl Drop for Project {
        fn drop(&mut self) {
            // What remains in the temporary directory harms no other test.
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_guest_is_built_again_when_a_file_of_it_or_of_a_path_dependency_changes() {
        let project = Project::new("rebuild");
        let dependency = format!("{LIBRARY}[dependencies]\nother = {{ path = \"../other\" }}\n");
        project.write(
            "guest/Cargo.toml",
            &Project::manifest("my-guest", &dependency),
        );
        project.write("other/Cargo.toml", &Project::manifest("other", ""));
        project.write(
            "other/src/lib.rs",
            "pub fn answer() -> u32 { include_str!(\"answer.txt\").len() as u32 }\n",
        );
        project.write("other/src/answer.txt", "four");
        let exported =
            "#[unsafe(no_mangle)]\npub extern \"C\" fn answer() -> u32 { other::answer() }\n";
        project.write("guest/src/lib.rs", exported);

        let first = project.compile(crate::guest("../guest")).unwrap();
        assert_eq!(first.name, "my-guest");
        assert!(
            first
                .module
                .starts_with(project.0.join("target/debug/build/host-1/out"))
        );
        for file in [
            "guest/Cargo.lock",
            "guest/Cargo.toml",
            "guest/src/lib.rs",
            "other/Cargo.toml",
            "other/src/answer.txt",
            "other/src/lib.rs",
        ] {
            assert!(
                first.sources.contains(&project.0.join(file)),
                "{file} is not in {:?}",
                first.sources
            );
        }
        let module = fs::read(&first.module).unwrap();

        project.write("other/src/answer.txt", "and another length");
        let second = project.compile(crate::guest("../guest")).unwrap();
        assert_ne!(fs::read(&second.module).unwrap(), module);
    }

    #[test]
    fn an_unchanged_module_is_not_written_again() {
        let project = Project::new("unchanged");
        let first = project
            .compile(crate::guest("../guest").name("other-name"))
            .unwrap();
        assert!(first.module.ends_with("other-name.wasm"));
        let written = fs::metadata(&first.module).unwrap().modified().unwrap();
        let second = project
            .compile(crate::guest("../guest").name("other-name"))
            .unwrap();
        assert_eq!(
            fs::metadata(&second.module).unwrap().modified().unwrap(),
            written
        );
    }

    #[test]
    fn a_profile_and_the_environment_are_those_of_the_guest() {
        let project = Project::new("profile");
        project.write(
            "guest/src/lib.rs",
            "const _: () = assert!(cfg!(debug_assertions) && cfg!(asked_for));\n",
        );
        let guest = crate::guest("../guest")
            .profile("dev")
            .env("RUSTFLAGS", "--cfg asked_for");
        project.compile(guest).unwrap();
    }

    #[test]
    fn what_the_compiler_says_is_in_the_error() {
        let project = Project::new("broken");
        project.write("guest/src/lib.rs", "fn broken() -> u32 { \"text\" }\n");
        let error = project
            .compile(crate::guest("../guest"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("guest/Cargo.toml does not build"), "{error}");
        assert!(error.contains("mismatched types"), "{error}");
    }

    #[test]
    fn a_crate_that_makes_no_module_is_refused() {
        let project = Project::new("no-module");
        project.write("guest/Cargo.toml", &Project::manifest("my-guest", ""));
        let error = project.compile(crate::guest("../guest")).unwrap_err();
        assert!(matches!(error, Error::NoModule { .. }), "{error}");
        let error = project.compile(crate::guest("../nowhere")).unwrap_err();
        assert!(matches!(error, Error::NoGuest { .. }), "{error}");
    }
}
