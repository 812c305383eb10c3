//! The target that guests are compiled for: looks whether the compiler has it and adds it where
//! rustup can.

use std::path::Path;
use std::process::Command;

use crate::error::Error;

pub(crate) const TARGET: &str = "wasm32-wasip1";

/// Makes sure that the compiler can build for [`TARGET`].
pub(crate) fn ensure(rustc: &Path) -> Result<(), Error> {
    if is_installed(rustc)? {
        return Ok(());
    }
    // rustup sets RUSTUP_TOOLCHAIN for everything that it starts, so this is the toolchain that
    // runs the build.
    let reason = match Command::new("rustup")
        .args(["target", "add", TARGET])
        .output()
    {
        Ok(output) if output.status.success() && is_installed(rustc)? => return Ok(()),
        Ok(output) if output.status.success() => {
            "rustup added it to another toolchain than this one".to_owned()
        }
        Ok(output) => format!("rustup: {}", String::from_utf8_lossy(&output.stderr).trim()),
        Err(error) => format!("rustup did not run: {error}"),
    };
    Err(Error::NoTarget { reason })
}

/// Whether the target's standard library lies where this compiler looks for it.
fn is_installed(rustc: &Path) -> Result<bool, Error> {
    let output = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .map_err(Error::io(rustc))?;
    let directory = String::from_utf8_lossy(&output.stdout);
    let directory = Path::new(directory.trim());
    Ok(output.status.success() && directory.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_the_command_that_adds_the_target() {
        let error = Error::NoTarget {
            reason: "offline".to_owned(),
        };
        assert!(
            error
                .to_string()
                .contains("`rustup target add wasm32-wasip1`"),
            "{error}"
        );
    }

    #[test]
    fn a_compiler_that_cannot_run_is_named() {
        let error = ensure(Path::new("/no/such/rustc")).unwrap_err();
        assert!(error.to_string().starts_with("/no/such/rustc: "), "{error}");
    }
}
